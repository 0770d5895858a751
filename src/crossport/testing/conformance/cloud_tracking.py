"""What every cloud promises that can tell what changed on a VM's disks, as tests.

Derive as in `crossport.testing.conformance.cloud`; the stage is a `TrackingStage`. No guest has to boot for
these: the stage writes to the disk of a running VM as its guest would.
"""

from typing import Protocol

import pytest

from crossport import errors
from crossport.model.artifact import Artifact, ExportPoint, Extent, Marks, Role
from crossport.model.vm import VM, PowerState
from crossport.testing.conformance.cloud import (
    CloudStage,
    StagedConformance,
    act,
    made_vm,
    refused_as_old,
)

__all__ = ["FIRST", "SECOND", "ChangeTrackerConformance", "TrackingStage", "changed_at"]

FIRST, SECOND = 128 << 10, 640 << 10
"""Two places within the first MiB that lie in different parts of any bitmap."""


class TrackingStage(CloudStage, Protocol):
    """A cloud under test whose disks can be written to, and looked at by extents."""

    async def scribble(self, vm: VM, start: int, filling: int) -> None:
        """Fill 4 KiB of the first disk of a running VM with a byte, as its guest would."""
        ...

    async def extents(self, artifact: Artifact) -> list[Extent]:
        """Open the artifact for reading and return all its extents."""
        ...


class ChangeTrackerConformance(StagedConformance):
    """`crossport.spi.cloud.ChangeTracker`."""

    @pytest.fixture
    def stage(self) -> TrackingStage:
        """Return the cloud under test."""
        raise NotImplementedError("the implementation under test gives this fixture")

    async def opened(
        self, stage: TrackingStage, run: str, vm: VM, marks: Marks, *, epoch: int = 2
    ) -> Artifact:
        """Return the first disk at this moment of the VM, running or off."""
        now = await stage.cloud.vm(vm.id)
        point = ExportPoint.SNAPSHOT if now.power is PowerState.RUNNING else ExportPoint.STOPPED
        step = f"sync-{marks.mark or 'last'}"
        export = await stage.cloud.export_changes(act(run, step, epoch), vm.id, point, marks)
        return next(one for one in export.artifacts if one.role is Role.DISK)

    async def ended(self, stage: TrackingStage, run: str, vm: VM) -> None:
        await stage.cloud.end_export(act(run, "end", 9), vm.id)
        await stage.cloud.end_tracking(act(run, "end", 9), vm.id)

    async def test_without_a_mark_everything_has_changed(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        disk = await self.opened(stage, run, running, Marks(mark="a"))
        assert all(extent.changed for extent in await stage.extents(disk))
        await self.ended(stage, run, running)

    async def test_what_was_written_since_the_mark_has_changed_and_the_rest_has_not(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        await stage.scribble(running, FIRST, 1)
        disk = await self.opened(stage, run, running, Marks(since="a", mark="b"))
        extents = await stage.extents(disk)
        assert changed_at(extents, FIRST)
        assert not changed_at(extents, SECOND)
        assert (await stage.content(disk))[FIRST:].startswith(bytes([1]) * 4096)
        await self.ended(stage, run, running)

    async def test_what_is_told_is_of_the_moment_of_the_export(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        disk = await self.opened(stage, run, running, Marks(since="a", mark="b"))
        before = await stage.content(disk)
        await stage.scribble(running, FIRST, 2)
        assert await stage.content(disk) == before
        assert not changed_at(await stage.extents(disk), FIRST)
        again = await self.opened(stage, run, running, Marks(since="b", mark="c"))
        assert changed_at(await stage.extents(again), FIRST)
        await self.ended(stage, run, running)

    async def test_the_last_changes_are_told_when_the_vm_is_off(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        await stage.scribble(running, FIRST, 3)
        await stage.cloud.end_export(act(run, "end"), running.id)
        await stage.cloud.power_off(act(run, "off"), running.id)
        disk = await self.opened(stage, run, running, Marks(since="a"))
        extents = await stage.extents(disk)
        assert changed_at(extents, FIRST)
        assert not changed_at(extents, SECOND)
        assert (await stage.content(disk))[FIRST:].startswith(bytes([3]) * 4096)
        await self.ended(stage, run, running)

    async def test_a_mark_outlasts_a_power_cycle(self, stage: TrackingStage, run: str, running: VM) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        await stage.scribble(running, FIRST, 4)
        await stage.cloud.end_export(act(run, "end"), running.id)
        await stage.cloud.power_off(act(run, "off"), running.id)
        await stage.cloud.start(act(run, "on"), running.id)
        await stage.scribble(running, SECOND, 5)
        disk = await self.opened(stage, run, running, Marks(since="a", mark="b"))
        extents = await stage.extents(disk)
        assert changed_at(extents, FIRST)
        assert changed_at(extents, SECOND)
        await self.ended(stage, run, running)

    async def test_a_mark_stays_where_it_was_set(self, stage: TrackingStage, run: str, running: VM) -> None:
        for epoch in (2, 3):
            await self.opened(stage, run, running, Marks(mark="a"), epoch=epoch)
            await stage.scribble(running, FIRST if epoch == 2 else SECOND, 6)
        disk = await self.opened(stage, run, running, Marks(since="a", mark="b"), epoch=4)
        extents = await stage.extents(disk)
        assert changed_at(extents, FIRST)
        assert changed_at(extents, SECOND)
        await self.ended(stage, run, running)

    async def test_the_same_call_again_tells_at_least_the_same(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        await stage.scribble(running, FIRST, 7)
        await self.opened(stage, run, running, Marks(since="a", mark="b"))
        again = await self.opened(stage, run, running, Marks(since="a", mark="b"), epoch=3)
        assert changed_at(await stage.extents(again), FIRST)
        await self.ended(stage, run, running)

    async def test_an_unknown_mark_is_told_as_everything(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        disk = await self.opened(stage, run, running, Marks(since="never set"))
        assert all(extent.changed for extent in await stage.extents(disk))
        await self.ended(stage, run, running)

    async def test_marks_that_were_ended_are_unknown(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        for _ in range(2):
            await stage.cloud.end_tracking(act(run, "end-tracking"), running.id)
        disk = await self.opened(stage, run, running, Marks(since="a"))
        assert all(extent.changed for extent in await stage.extents(disk))
        await self.ended(stage, run, running)

    async def test_only_two_marks_are_kept(self, stage: TrackingStage, run: str, running: VM) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        await self.opened(stage, run, running, Marks(since="a", mark="b"))
        await self.opened(stage, run, running, Marks(since="b", mark="c"))
        disk = await self.opened(stage, run, running, Marks(since="a"))
        assert all(extent.changed for extent in await stage.extents(disk))
        await self.ended(stage, run, running)

    async def test_a_run_does_not_see_the_marks_of_another(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        await self.opened(stage, f"{run}-other", running, Marks(mark="a"))
        await stage.cloud.end_export(act(f"{run}-other", "end"), running.id)
        disk = await self.opened(stage, run, running, Marks(since="a"))
        assert all(extent.changed for extent in await stage.extents(disk))
        await self.ended(stage, run, running)
        await self.ended(stage, f"{run}-other", running)

    async def test_tracking_is_ended_for_a_vm_that_is_off_or_gone(
        self, stage: TrackingStage, run: str
    ) -> None:
        vm = await made_vm(stage, run, power_on=True)
        await self.opened(stage, run, vm, Marks(mark="a"))
        await stage.cloud.end_export(act(run, "end"), vm.id)
        await stage.cloud.power_off(act(run, "off"), vm.id)
        await stage.cloud.end_tracking(act(run, "end-tracking"), vm.id)
        await stage.cloud.delete_vm(act(run, "delete"), vm.id)
        await stage.cloud.end_tracking(act(run, "end-tracking"), vm.id)

    async def test_changes_of_a_running_vm_are_not_told_as_if_it_was_off(
        self, stage: TrackingStage, run: str, running: VM
    ) -> None:
        with pytest.raises(errors.Conflict):
            await stage.cloud.export_changes(act(run, "x"), running.id, ExportPoint.STOPPED, Marks(mark="a"))

    async def test_changes_of_an_unknown_vm_are_not_found(self, stage: TrackingStage, run: str) -> None:
        with pytest.raises(errors.NotFound):
            await stage.cloud.export_changes(act(run, "x"), "no-such-vm", ExportPoint.SNAPSHOT, Marks())

    async def test_an_old_epoch_tracks_nothing(self, stage: TrackingStage, run: str, running: VM) -> None:
        await self.opened(stage, run, running, Marks(mark="a"))
        snapshot, marks = ExportPoint.SNAPSHOT, Marks(mark="b")
        await refused_as_old(lambda old: stage.cloud.export_changes(old, running.id, snapshot, marks), run)
        await refused_as_old(lambda old: stage.cloud.end_tracking(old, running.id), run)
        await self.ended(stage, run, running)


def changed_at(extents: list[Extent], position: int) -> bool:
    """Say whether the byte at ``position`` is told as changed."""
    return next(one.changed for one in extents if one.start <= position < one.start + one.size)
