"""Kill the process at every step boundary of a migration; the world must end the same.

Every step is killed before its call, after its call (the world was changed and nobody wrote it down), and
after its record; the next execution goes on. A second test makes sure that finished steps are not run
again, because idempotent steps would hide a record that is ignored.
"""

from pathlib import Path

import pytest
from tests.unit.migration.world import World, disk_bytes, new_world

from crossport.migration.cold import ColdMigration
from crossport.model.run import MigrationReport, RunState
from crossport.model.vm import PowerState
from crossport.testing.run import DirectRun, Killed, KillPoint

STEPS = (
    "describe-source",
    "describe-target",
    "propose",
    "reserve",
    "export",
    "prepare-import",
    "copy-disk-0",
    "seal",
    "admit",
    "verify",
    "inspect",
    "instantiate",
    "check",
    "prepare-commit",
    "commit-source",
    "commit-target",
    "clean-target",
    "clean-source",
    "tell-finish",
)
BACK = ("tell-undo", "withdraw", "roll-back-target", "roll-back-source", "clean-target", "clean-source")


async def finished(world: World, step: str, point: KillPoint) -> tuple[MigrationReport, DirectRun]:
    """Migrate, die once, and let the successor finish; never may both VMs run."""
    first = world.context
    first.kill(step, point)
    with pytest.raises(Killed):
        await ColdMigration(first, world.request(), world.parts).run()
    assert len(await world.running()) <= 1
    second = first.successor()
    return await ColdMigration(second, world.request(), world.parts).run(), second


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", STEPS)
async def test_a_killed_migration_ends_like_an_undisturbed_one(tmp_path: Path, step: str, point: KillPoint):
    world = await new_world(tmp_path)
    report, second = await finished(world, step, point)
    assert report.outcome is RunState.DONE
    source = await world.source_vm()
    (vm,) = await world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (vm.power, vm.quarantined) == (PowerState.RUNNING, False)
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, source)
    again = point is KillPoint.AFTER_CALL
    assert second.calls.count(step) == (2 if again else 1)
    assert all(second.calls.count(other) == 1 for other in STEPS if other != step)


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", BACK)
async def test_a_killed_rollback_ends_like_an_undisturbed_one(tmp_path: Path, step: str, point: KillPoint):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    report, _ = await finished(world, step, point)
    assert report.outcome is RunState.ROLLED_BACK
    source = await world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await world.target_vms() == ()
    assert await world.beta.tagged("run-1") == ()
