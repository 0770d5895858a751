"""What every cloud promises about reading VMs out and writing them in, as tests.

Derive as in `crossport.testing.conformance.cloud`. No guest has to boot for these.
"""

import asyncio
import dataclasses

import pytest

from crossport import errors
from crossport.model.artifact import Artifact, Consistency, ExportPoint, Role
from crossport.model.run import Created
from crossport.model.vm import VM, PowerState
from crossport.spi.block import BlockWriter
from crossport.spi.cloud import NewVM, RoomFor
from crossport.testing.conformance.cloud import (
    CloudStage,
    StagedConformance,
    act,
    refused_as_old,
    with_names_of,
)
from crossport.units import MIB

__all__ = ["ExporterConformance", "ImporterConformance"]

CONTENT = b"boot" + bytes(70_000) + b"in the middle" + bytes(100_000) + b"and the end"
TOO_LARGE = 1 << 60


class ExporterConformance(StagedConformance):
    """`crossport.spi.cloud.Exporter`."""

    async def test_a_vm_that_is_off_reads_the_same_however_often(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        first = await stage.cloud.export(act(run, "export"), stopped.id, ExportPoint.STOPPED)
        disk = artifact_of(first.artifacts, Role.DISK)
        content = await stage.content(disk)
        assert len(content) == disk.ref.size == stopped.disks[0].size
        assert any(content)
        again = await stage.cloud.export(act(run, "export"), stopped.id, ExportPoint.STOPPED)
        assert await stage.content(artifact_of(again.artifacts, Role.DISK)) == content
        await stage.cloud.end_export(act(run, "end"), stopped.id)

    async def test_it_describes_the_vm_and_names_every_artifact_once(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        export = await stage.cloud.export(act(run, "export"), stopped.id, ExportPoint.STOPPED)
        assert (export.vm.id, export.point) == (stopped.id, ExportPoint.STOPPED)
        assert export.consistency is Consistency.OFF
        names = [artifact.name for artifact in export.artifacts]
        assert len(set(names)) == len(names)
        assert "disk-0" in names
        await stage.cloud.end_export(act(run, "end"), stopped.id)

    async def test_it_ends_twice_and_can_begin_again(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await stage.cloud.export(act(run, "export"), stopped.id, ExportPoint.STOPPED)
        for _ in range(2):
            await stage.cloud.end_export(act(run, "end"), stopped.id)
        assert await stage.cloud.tagged(run) == ()
        again = await stage.cloud.export(act(run, "again"), stopped.id, ExportPoint.STOPPED)
        assert await stage.content(artifact_of(again.artifacts, Role.DISK))
        await stage.cloud.end_export(act(run, "end-again"), stopped.id)

    async def test_a_running_vm_is_not_exported_as_if_it_was_off(
        self, stage: CloudStage, run: str, running: VM
    ) -> None:
        with pytest.raises(errors.Conflict):
            await stage.cloud.export(act(run, "export"), running.id, ExportPoint.STOPPED)

    async def test_an_unknown_vm_is_not_exported(self, stage: CloudStage, run: str) -> None:
        with pytest.raises(errors.NotFound):
            await stage.cloud.export(act(run, "export"), "no-such-vm", ExportPoint.STOPPED)

    async def test_a_snapshot_stays_as_it_was_and_lets_the_guest_run(
        self, stage: CloudStage, run: str, running: VM
    ) -> None:
        assert ExportPoint.SNAPSHOT in stage.cloud.points()
        export = await stage.cloud.export(act(run, "export"), running.id, ExportPoint.SNAPSHOT)
        disk = artifact_of(export.artifacts, Role.DISK)
        content = await stage.content(disk)
        assert await stage.content(disk) == content
        assert (await stage.cloud.vm(running.id)).power is PowerState.RUNNING
        assert export.consistency is not Consistency.OFF
        for _ in range(2):
            await stage.cloud.end_export(act(run, "end"), running.id)
        assert (await stage.cloud.vm(running.id)).power is PowerState.RUNNING

    async def test_a_suspended_vm_brings_its_memory(self, stage: CloudStage, run: str, running: VM) -> None:
        assert ExportPoint.SUSPENDED in stage.cloud.points()
        for _ in range(2):
            await stage.cloud.suspend(act(run, "suspend"), running.id)
        assert (await stage.cloud.vm(running.id)).power is PowerState.SUSPENDED
        export = await stage.cloud.export(act(run, "export"), running.id, ExportPoint.SUSPENDED)
        memory = artifact_of(export.artifacts, Role.MEMORY)
        assert any(await stage.content(memory))
        await stage.cloud.end_export(act(run, "end"), running.id)
        await stage.cloud.start(act(run, "resume"), running.id)
        assert (await stage.cloud.vm(running.id)).power is PowerState.RUNNING

    async def test_one_that_is_off_has_no_memory_to_keep(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        with pytest.raises(errors.Conflict):
            await stage.cloud.suspend(act(run, "suspend"), stopped.id)

    async def test_an_old_epoch_opens_nothing(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await stage.cloud.power_off(act(run, "off"), stopped.id)
        await refused_as_old(lambda old: stage.cloud.export(old, stopped.id, ExportPoint.STOPPED), run)


class ImporterConformance(StagedConformance):
    """`crossport.spi.cloud.Importer`."""

    async def prepared(self, stage: CloudStage, run: str, *names: str, epoch: int = 2) -> list[Artifact]:
        rooms = tuple(RoomFor(name=name, role=Role.DISK, size=MIB) for name in names)
        return list(await stage.cloud.prepare_import(act(run, "prepare", epoch), rooms))

    async def landed(self, stage: CloudStage, run: str, like: VM, **options: bool) -> VM:
        """Write CONTENT into one disk and start a VM from it."""
        (disk,) = await self.prepared(stage, run, "disk-0")
        await stage.fill(disk, CONTENT)
        sealed = await stage.cloud.seal_import(act(run, "seal"))
        new = NewVM(vm=described_for(like, f"new-{run}"), artifacts=sealed, **options)
        vm: VM = await stage.cloud.instantiate(act(run, "instantiate"), new)
        return vm

    async def test_new_volumes_read_as_zero_in_the_order_that_was_asked(
        self, stage: CloudStage, run: str
    ) -> None:
        made = await self.prepared(stage, run, "disk-0", "disk-1")
        assert [artifact.name for artifact in made] == ["disk-0", "disk-1"]
        assert [artifact.ref.size for artifact in made] == [MIB, MIB]
        sealed = await stage.cloud.seal_import(act(run, "seal"))
        for artifact in sealed:
            assert await stage.content(artifact) == bytes(MIB)

    async def test_the_same_act_makes_one_volume(self, stage: CloudStage, run: str) -> None:
        first = await self.prepared(stage, run, "disk-0")
        assert [one.name for one in await self.prepared(stage, run, "disk-0")] == [one.name for one in first]
        assert len(await stage.cloud.tagged(run)) == 1

    async def test_what_was_written_is_there_when_sealed(self, stage: CloudStage, run: str) -> None:
        first, second = await self.prepared(stage, run, "disk-0", "disk-1")
        await stage.fill(second, CONTENT)
        await stage.fill(first, b"first")
        await stage.cloud.seal_import(act(run, "seal"))
        again: tuple[Artifact, ...] = await stage.cloud.seal_import(act(run, "seal"))
        sealed = {one.name: one for one in again}
        assert (await stage.content(sealed["disk-1"])).rstrip(b"\0") == CONTENT
        assert (await stage.content(sealed["disk-0"])).rstrip(b"\0") == b"first"

    async def test_a_higher_epoch_finds_what_a_lower_one_wrote(self, stage: CloudStage, run: str) -> None:
        (old,) = await self.prepared(stage, run, "disk-0")
        await stage.fill(old, CONTENT)
        (disk,) = await self.prepared(stage, run, "disk-0", epoch=3)
        assert disk.ref.identity == old.ref.identity
        await stage.fill(disk, b"BOOT")
        (sealed,) = await stage.cloud.seal_import(act(run, "seal", 3))
        assert (await stage.content(sealed)).rstrip(b"\0") == b"BOOT" + CONTENT[4:]
        assert len(await stage.cloud.tagged(run)) == 1

    async def test_a_higher_epoch_opens_again_what_a_lower_one_has_sealed(
        self, stage: CloudStage, run: str
    ) -> None:
        (disk,) = await self.prepared(stage, run, "disk-0")
        await stage.fill(disk, CONTENT)
        await stage.cloud.seal_import(act(run, "seal"))
        with pytest.raises(errors.Conflict):
            await self.prepared(stage, run, "disk-0")
        (disk,) = await self.prepared(stage, run, "disk-0", epoch=3)
        await stage.fill(disk, b"BOOT")
        (sealed,) = await stage.cloud.seal_import(act(run, "seal", 3))
        assert (await stage.content(sealed)).rstrip(b"\0") == b"BOOT" + CONTENT[4:]

    async def test_a_higher_epoch_cuts_off_whoever_still_writes(self, stage: CloudStage, run: str) -> None:
        (old,) = await self.prepared(stage, run, "disk-0")
        writer = await asyncio.to_thread(stage.writer, old)
        await asyncio.to_thread(written, writer, CONTENT)
        await self.prepared(stage, run, "disk-0", epoch=3)
        # What is cut off may notice it or not; what counts is that it does no harm.
        await asyncio.gather(asyncio.to_thread(written, writer, b"harm"), return_exceptions=True)
        writer.close()
        (sealed,) = await stage.cloud.seal_import(act(run, "seal", 3))
        assert (await stage.content(sealed)).rstrip(b"\0") == CONTENT

    async def test_a_volume_has_one_identity_until_it_is_made_anew(self, stage: CloudStage, run: str) -> None:
        first, second = await self.prepared(stage, run, "disk-0", "disk-1")
        again = await self.prepared(stage, run, "disk-0", "disk-1")
        sealed = await stage.cloud.seal_import(act(run, "seal"))
        known = [first.ref.identity, second.ref.identity]
        assert all(known)
        assert len(set(known)) == 2
        assert [one.ref.identity for one in again] == known
        assert sorted(one.ref.identity for one in sealed) == sorted(known)
        for thing in await stage.cloud.tagged(run):
            await stage.cloud.remove(act(run, "remove"), thing)
        (anew,) = await self.prepared(stage, run, "disk-0", epoch=3)
        assert anew.ref.identity not in {"", *known}

    async def test_other_rooms_of_a_higher_epoch_are_empty(self, stage: CloudStage, run: str) -> None:
        (old,) = await self.prepared(stage, run, "disk-0")
        await stage.fill(old, CONTENT)
        rooms = (RoomFor(name="disk-0", role=Role.DISK, size=2 * MIB),)
        (disk,) = await stage.cloud.prepare_import(act(run, "prepare", 3), rooms)
        assert disk.ref.identity != old.ref.identity
        (sealed,) = await stage.cloud.seal_import(act(run, "seal", 3))
        assert await stage.content(sealed) == bytes(2 * MIB)

    async def test_an_old_epoch_makes_nothing(self, stage: CloudStage, run: str) -> None:
        (disk,) = await self.prepared(stage, run, "disk-0")
        rooms = (RoomFor(name="disk-1", role=Role.DISK, size=MIB),)
        await refused_as_old(lambda old: stage.cloud.prepare_import(old, rooms), run)
        await refused_as_old(stage.cloud.seal_import, run)
        thing = Created(run=run, cloud=stage.cloud.name, kind="volume", name=disk.name)
        await refused_as_old(lambda old: stage.cloud.remove(old, thing), run)

    async def test_what_does_not_fit_is_blocked_and_leaves_nothing(self, stage: CloudStage, run: str) -> None:
        rooms = (RoomFor(name="disk-0", role=Role.DISK, size=TOO_LARGE),)
        with pytest.raises(errors.Blocked):
            await stage.cloud.prepare_import(act(run, "prepare"), rooms)
        assert await stage.cloud.tagged(run) == ()

    async def test_a_cancelled_call_can_be_made_again(self, stage: CloudStage, run: str) -> None:
        task = asyncio.ensure_future(self.prepared(stage, run, "disk-0"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (disk,) = await self.prepared(stage, run, "disk-0")
        await stage.fill(disk, CONTENT)
        (sealed,) = await stage.cloud.seal_import(act(run, "seal"))
        assert (await stage.content(sealed)).rstrip(b"\0") == CONTENT

    async def test_nothing_starts_from_volumes_that_are_still_written(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        made = await self.prepared(stage, run, "disk-0")
        new = NewVM(vm=described_for(stopped, f"new-{run}"), artifacts=tuple(made))
        with pytest.raises(errors.Conflict):
            await stage.cloud.instantiate(act(run, "instantiate"), new)

    async def test_the_new_vm_runs_in_quarantine_until_it_is_opened(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        vm = await self.landed(stage, run, stopped)
        assert (vm.name, vm.power, vm.quarantined) == (f"new-{run}", PowerState.RUNNING, True)
        for _ in range(2):
            await stage.cloud.open_network(act(run, "open"), vm.id)
        found = await stage.cloud.vm(vm.id)
        assert (found.power, found.quarantined) == (PowerState.RUNNING, False)

    async def test_the_same_act_starts_one_vm(self, stage: CloudStage, run: str, stopped: VM) -> None:
        vm = await self.landed(stage, run, stopped)
        sealed = await stage.cloud.seal_import(act(run, "seal"))
        new = NewVM(vm=described_for(stopped, f"new-{run}"), artifacts=sealed)
        again = await stage.cloud.instantiate(act(run, "instantiate"), new)
        assert again.id == vm.id
        assert len([one for one in await stage.cloud.tagged(run) if one.kind == "vm"]) == 1

    async def test_an_isolated_copy_stays_isolated(self, stage: CloudStage, run: str, stopped: VM) -> None:
        vm = await self.landed(stage, run, stopped, isolated=True)
        with pytest.raises(errors.Refused):
            await stage.cloud.open_network(act(run, "open"), vm.id)
        assert (await stage.cloud.vm(vm.id)).quarantined

    async def test_the_disk_of_the_new_vm_holds_what_was_written(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        vm = await self.landed(stage, run, stopped)
        await stage.cloud.power_off(act(run, "off"), vm.id)
        export = await stage.cloud.export(act(f"{run}-back", "export"), vm.id, ExportPoint.STOPPED)
        content = await stage.content(artifact_of(export.artifacts, Role.DISK))
        assert content.rstrip(b"\0") == CONTENT
        await stage.cloud.end_export(act(f"{run}-back", "end"), vm.id)

    async def test_everything_carries_the_tag_and_can_be_removed_repeatedly(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        vm = await self.landed(stage, run, stopped)
        things = await stage.cloud.tagged(run)
        assert vm.id in [thing.id for thing in things]
        assert {thing.run for thing in things} == {run}
        for _ in range(2):
            for thing in sorted(things, key=lambda thing: thing.kind != "vm"):
                await stage.cloud.remove(act(run, "remove"), thing)
        assert await stage.cloud.tagged(run) == ()
        with pytest.raises(errors.NotFound):
            await stage.cloud.vm(vm.id)

    async def test_removed_volumes_give_their_room_back(self, stage: CloudStage, run: str) -> None:
        before = (await stage.cloud.constructs()).free.disk
        await self.prepared(stage, run, "disk-0", "disk-1")
        assert before - (await stage.cloud.constructs()).free.disk == 2 * MIB
        for thing in await stage.cloud.tagged(run):
            await stage.cloud.remove(act(run, "remove"), thing)
        assert (await stage.cloud.constructs()).free.disk == before

    async def test_volumes_of_another_run_are_refused(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await self.prepared(stage, run, "disk-0")
        sealed = await stage.cloud.seal_import(act(run, "seal"))
        new = NewVM(vm=described_for(stopped, f"new-{run}"), artifacts=sealed)
        with pytest.raises(errors.Refused):
            await stage.cloud.instantiate(act(f"{run}-other", "instantiate"), new)


def written(writer: BlockWriter, content: bytes) -> None:
    """Put ``content`` at the start, durably."""
    writer.write(0, content)
    writer.flush()


def artifact_of(artifacts: tuple[Artifact, ...], role: Role) -> Artifact:
    """Return the first artifact of that role."""
    return next(artifact for artifact in artifacts if artifact.role is role)


def described_for(like: VM, name: str) -> VM:
    """Return the description of a VM with one disk of a MiB, else like ``like``."""
    vm = with_names_of(like, name)
    disk = dataclasses.replace(vm.disks[0], id="", size=MIB, allocated=None)
    return dataclasses.replace(vm, disks=(disk,))
