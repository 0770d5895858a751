"""Kill the process at every step boundary of a warm migration, whose guest writes meanwhile.

The guest writes before every copy and behind it, so that a mark that moved, or a change that was told to an
execution that died, would be missing at the target. Nothing is compared at the end but by this test: the
migration itself is told to leave that out, or the comparison would repair what the marks lost.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold_kill import BACK
from tests.unit.migration.test_warm import Writer
from tests.unit.migration.world import RememberingMover, World, disk_bytes, new_world

from crossport.migration.warm import migration_of
from crossport.model.artifact import Moved, Progress, Ticket
from crossport.model.locator import file_locator, file_of
from crossport.model.run import MigrationReport, MigrationRequest, Mode, RunState, Verify, WarmRules
from crossport.model.vm import PowerState
from crossport.testing.run import DirectRun, Killed, KillPoint

STEPS = (
    *("describe-source", "describe-target", "propose", "reserve", "prepare-import"),
    *("sync-0-open", "sync-0-disk-0", "tell-sync-0", "sync-1-open", "sync-1-disk-0", "tell-sync-1"),
    *("cutover-open", "cutover-disk-0", "verify", "instantiate", "check"),
    *("commit-source", "commit-target", "clean-target", "clean-source", "tell-finish"),
)
REPAIRED = ("compare-open", "compare-disk-0")
COMPARED = ("sync-0-back", "sync-1-back", "verify", "instantiate", "check", "compare", "commit-source")


class LosingMover(RememberingMover):
    """Takes one block that changed for one that did not."""

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        path, changed = file_of(read.ref.locator)
        if not changed:
            return await super().move(read, write, report)
        ref = replace(read.ref, locator=file_locator(path, changed[1:]))
        return await super().move(replace(read, ref=ref), write, report)


def request(world: World, **changes: Any) -> MigrationRequest:
    """A warm migration that does not compare."""
    rules = WarmRules(verify=Verify.STREAM)
    return world.request(**{"mode": Mode.WARM, "warm": rules, "accept": ("verify.stream",), **changes})


async def finished(
    world: World, wanted: MigrationRequest, step: str, point: KillPoint, guest: Writer | None = None
) -> tuple[MigrationReport, DirectRun]:
    """Migrate, die once, and let the successor finish; never may both VMs run."""
    first, writer = world.context, guest or Writer(world)
    world.mover.after = writer.write
    first.kill(step, point)
    with pytest.raises(Killed):
        await migration_of(first, wanted, world.parts).run()
    assert len(await world.running()) <= 1
    await writer.write_now()
    second = first.successor()
    return await migration_of(second, wanted, world.parts).run(), second


async def expect_moved(world: World, report: MigrationReport) -> None:
    assert report.outcome is RunState.DONE
    source = await world.source_vm()
    (vm,) = await world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (vm.power, vm.quarantined) == (PowerState.RUNNING, False)
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, source)
    assert not list((world.alpha.disk_path("x").parents[1] / "marks").iterdir())


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", STEPS)
async def test_a_killed_warm_migration_ends_like_an_undisturbed_one(
    tmp_path: Path, step: str, point: KillPoint
):
    world = await new_world(tmp_path, mover=RememberingMover)
    report, second = await finished(world, request(world), step, point)
    await expect_moved(world, report)
    again = point is KillPoint.AFTER_CALL
    assert second.calls.count(step) == (2 if again else 1)
    assert all(second.calls.count(other) == 1 for other in STEPS if other != step)


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", COMPARED)
async def test_a_comparison_that_was_killed_is_made_again(tmp_path: Path, step: str, point: KillPoint):
    world = await new_world(tmp_path, mover=RememberingMover)
    report, second = await finished(world, request(world, warm=WarmRules()), step, point)
    await expect_moved(world, report)
    assert report.verified == "at rest"
    assert [sync.what for sync in report.syncs][-2:] == ["last", "comparison"]
    if step not in {"check", "compare"}:  # which go on side by side
        assert second.calls.count("compare") == 1


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", REPAIRED)
async def test_a_comparison_before_the_start_that_was_killed_is_made_again(
    tmp_path: Path, step: str, point: KillPoint
):
    world = await new_world(tmp_path, mover=RememberingMover)
    rules = WarmRules(verify=Verify.REPAIR)
    report, _ = await finished(world, request(world, warm=rules), step, point)
    await expect_moved(world, report)
    assert report.verified == "at rest"


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", ["check", "compare", "tell-undo", "roll-back-target", "roll-back-source"])
async def test_a_comparison_that_finds_something_brings_the_source_back_whoever_is_killed(
    tmp_path: Path, step: str, point: KillPoint
):
    world = await new_world(tmp_path, mover=LosingMover)
    report, _ = await finished(world, request(world, warm=WarmRules()), step, point)
    assert (report.outcome, report.code) == (RunState.ROLLED_BACK, "warm.copy.differs")
    source = await world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await world.target_vms() == ()


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", BACK)
async def test_a_killed_way_back_from_a_warm_migration_ends_like_an_undisturbed_one(
    tmp_path: Path, step: str, point: KillPoint
):
    world = await new_world(tmp_path, mover=RememberingMover, guest_health="bad-elsewhere")
    report, _ = await finished(world, request(world), step, point)
    assert report.outcome is RunState.ROLLED_BACK
    source = await world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await world.target_vms() == ()
    assert await world.beta.tagged("run-1") == ()
