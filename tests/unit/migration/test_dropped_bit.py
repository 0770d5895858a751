"""A cloud whose tracking loses one change: the comparison finds it, every time.

It brings the source back, also when the guest that has started at the target wrote over the very place; or
it repairs the copy, when it was asked to compare before the start.
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.migration.world import HTTP, RememberingMover, World, act, disk_bytes, make_world

from crossport.clouds.memory import MemoryCloud
from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Ticket
from crossport.model.locator import file_locator, file_of
from crossport.model.run import Act, Mode, RunState, Verify, WarmRules
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import NewVM
from crossport.testing.world import ALPHA, BETA, web_vm

BLOCK = 4096
BLOCKS = 32
TIMES, BATCH = 100, 10


class ForgetfulCloud(MemoryCloud):
    """Tells what changed, but once it drops one block of it."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        super().__init__("alpha", root)
        self.draw = draw
        self.drops_in = draw.choice(("sync-1", ""))
        """The mark that is set by the export that forgets; the last one sets none."""
        self.dropped = False

    async def export_changes(self, act: Act, vm_id: str, point: ExportPoint, marks: Marks) -> Export:
        export = await super().export_changes(act, vm_id, point, marks)
        if marks.mark != self.drops_in:
            return export
        return replace(export, artifacts=tuple(map(self._without_one, export.artifacts)))

    def _without_one(self, artifact: Artifact) -> Artifact:
        path, changed = file_of(artifact.ref.locator)
        if not changed:
            return artifact
        kept = list(changed)
        del kept[self.draw.randrange(len(kept))]
        self.dropped = True
        return replace(artifact, ref=replace(artifact.ref, locator=file_locator(path, tuple(kept))))


class BusyCloud(MemoryCloud):
    """Its guests write over everything as soon as they start, with what the source has there in the end."""

    def __init__(self, root: Path, source: MemoryCloud) -> None:
        super().__init__("beta", root)
        self.source = source

    async def instantiate(self, act: Act, new: NewVM) -> VM:
        vm, original = await super().instantiate(act, new), await self.source.vm("web")
        content = disk_bytes(self.source, original)
        self.disk_path(vm.disks[0].id).write_bytes(content)
        return vm


async def world_with(root: Path, draw: random.Random, *, busy: bool = False) -> tuple[World, ForgetfulCloud]:
    """Return a world whose guest writes to every block at most once, and ``busy``, anew when it has moved."""
    here = ForgetfulCloud(root / "alpha", draw)
    there = BusyCloud(root / "beta", here) if busy else MemoryCloud("beta", root / "beta")
    here.found(ALPHA)
    there.found(BETA)
    wanted = web_vm()
    disks = (replace(wanted.disks[0], size=BLOCKS * BLOCK),)
    vm = await here.create_vm(act("create", "setup"), replace(wanted, disks=disks), "boot and data")
    world = make_world(here, there, mover=RememberingMover)
    blocks = draw.sample(range(1, BLOCKS), BLOCKS - 1)

    async def write(ticket: Ticket) -> None:
        if (await here.vm(vm.id)).power is PowerState.RUNNING:
            with here.disk_path(vm.disks[0].id).open("r+b") as disk:
                for _ in range(draw.randint(1, 3)):
                    disk.seek(blocks.pop() * BLOCK + draw.randrange(BLOCK - 8))
                    disk.write(draw.randbytes(8))

    world.mover.after = write
    return world, here


@pytest.mark.parametrize("batch", range(TIMES // BATCH))
async def test_one_change_that_was_not_told_is_found_every_time(batch: int, tmp_path: Path):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        draw = random.Random(seed)  # noqa: S311 - places
        world, cloud = await world_with(tmp_path / str(seed), draw, busy=seed % 2 == 0)
        before = disk_bytes(cloud, await world.source_vm())
        report = await world.migrate(mode=Mode.WARM, checks=replace(HTTP, successes=1))
        assert cloud.dropped
        assert (report.outcome, report.code) == (RunState.ROLLED_BACK, "warm.copy.differs"), seed
        assert report.verified == "stream only"
        assert "--verify repair" in report.text
        source = await world.source_vm()
        assert (source.power, source.fenced) == (PowerState.RUNNING, False)
        assert await world.target_vms() == ()
        assert disk_bytes(cloud, source) != before


@pytest.mark.parametrize("batch", range(TIMES // BATCH))
async def test_it_is_repaired_when_it_is_looked_for_before_the_start(batch: int, tmp_path: Path):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        world, cloud = await world_with(tmp_path / str(seed), random.Random(seed))  # noqa: S311 - places
        rules = WarmRules(verify=Verify.REPAIR)
        report = await world.migrate(mode=Mode.WARM, warm=rules, checks=replace(HTTP, successes=1))
        assert cloud.dropped
        assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
        (found,) = [one for one in report.findings if one.code == "warm.changes.missed"]
        assert found.text.startswith("4 KiB of disk-0 had changed")
        (vm,) = await world.target_vms()
        assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, await world.source_vm()), seed


async def test_without_the_comparison_it_stays_unseen(tmp_path: Path):
    world, _ = await world_with(tmp_path, random.Random(1))  # noqa: S311 - places
    rules = WarmRules(verify=Verify.STREAM)
    report = await world.migrate(mode=Mode.WARM, warm=rules, accept=("verify.stream",))
    assert (report.outcome, report.verified) == (RunState.DONE, "stream only")
    (vm,) = await world.target_vms()
    assert disk_bytes(world.beta, vm) != disk_bytes(world.alpha, await world.source_vm())
