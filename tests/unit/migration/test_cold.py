"""A cold migration between two simulated clouds: what it does, and what it leaves when it fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.world import TWIN, World, act, disk_bytes, make_world, new_world

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.migration import copying
from crossport.model.artifact import Export, ExportPoint, Progress, Ticket
from crossport.model.health import HealthChecks
from crossport.model.mapping import MappingRules
from crossport.model.run import PHASES, Act, CommitRule, Hook, LedgerState, MigrationReport, Mode, RunState
from crossport.model.vm import VM, PowerState


class HaltingCloud(MemoryCloud):
    """A cloud whose guests have their power on and stand still, as over a full file system."""

    async def vm(self, reference: str) -> VM:
        return replace(await super().vm(reference), halted="its disk is full")


async def expect_rolled_back(world: World, report: MigrationReport, code: str) -> None:
    """The source is as it was, and the target holds nothing of the run."""
    assert (report.outcome, report.code) == (RunState.ROLLED_BACK, code)
    source = await world.source_vm()
    assert source.power is PowerState.RUNNING
    assert not source.fenced
    assert await world.target_vms() == ()
    assert await world.beta.tagged("run-1") == ()
    assert report.left_behind == ()


async def test_the_vm_runs_at_the_target_with_mapped_constructs(world: World):
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    (vm,) = await world.target_vms()
    assert (vm.name, vm.zone, vm.flavor, vm.keys) == ("web", "east", "medium", ("ann-at-beta",))
    assert (vm.nics[0].network, vm.nics[0].mac) == ("frontend", "52:54:00:00:00:01")
    assert vm.power is PowerState.RUNNING
    assert not vm.quarantined
    assert vm.instance_id == "i-1"


async def test_the_data_arrives_unchanged(world: World):
    await world.migrate()
    (vm,) = await world.target_vms()
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, await world.source_vm())


async def test_the_source_is_off_fenced_and_kept(world: World):
    report = await world.migrate()
    source = await world.source_vm()
    assert source.power is PowerState.STOPPED
    assert source.fenced
    assert report.source_id == source.id


async def test_the_report_tells_all_eight_phases_once(world: World):
    report = await world.migrate()
    assert sorted(phase.name for phase in report.phases) == sorted(PHASES)
    assert report.verified == "at rest"
    assert report.moved[0].counters.read > 0


async def test_the_ledger_says_that_the_owner_keeps_the_new_vm(world: World):
    await world.migrate()
    entries = {(one.cloud, one.kind): one.state for one in await world.context.ledger.entries("run-1")}
    assert entries[("beta", "vm")] is LedgerState.KEPT
    assert entries[("alpha", "export")] is LedgerState.REMOVED


async def test_an_ill_guest_is_rolled_back(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    await expect_rolled_back(world, await world.migrate(), "check.failed")


async def test_the_report_of_a_rollback_says_how_long_the_source_was_away(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    outage_s = (await world.migrate()).outage_s
    assert outage_s is not None
    assert outage_s >= world.request().checks.timeout_s


async def test_a_guest_that_will_not_shut_down_stays_where_it_is(tmp_path: Path):
    world = await new_world(tmp_path, guest_shutdown="refuse")
    await expect_rolled_back(world, await world.migrate(), "vm.shutdown.refused")


async def test_the_plug_is_pulled_only_when_told(tmp_path: Path):
    world = await new_world(tmp_path, guest_shutdown="refuse")
    report = await world.migrate(power_off=True)
    assert report.outcome is RunState.DONE


async def test_a_bit_flipped_in_the_copy_is_found_before_anything_starts(world: World):
    async def flip(ticket: Ticket) -> None:
        disk = Path(ticket.ref.locator)
        content = bytearray(disk.read_bytes())
        content[5] ^= 1
        disk.write_bytes(content)

    world.mover.after = flip
    await expect_rolled_back(world, await world.migrate(), "image.digest.mismatch")


async def test_a_copy_that_breaks_once_is_made_again(world: World):
    world.mover.fail_times = 1
    assert (await world.migrate()).outcome is RunState.DONE
    assert world.context.calls.count("copy-disk-0") == 2


async def test_a_copy_that_is_made_again_opens_the_source_again(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    opened: list[str] = []
    export = world.alpha.export

    async def counted(act: Act, vm_id: str, point: ExportPoint) -> Export:
        opened.append(act.step)
        return await export(act, vm_id, point)

    monkeypatch.setattr(world.alpha, "export", counted)
    world.mover.fail_times = 2
    assert (await world.migrate()).outcome is RunState.DONE
    assert opened == ["export"] * 3


async def test_a_copy_that_always_breaks_ends_in_rollback(world: World, monkeypatch: pytest.MonkeyPatch):
    """Even if it is further each time, as it says, also beyond the end of the disk."""
    monkeypatch.setattr(copying, "HEADWAY", 64 << 10)
    world.mover.fail_times, world.mover.further = 1000, 64 << 10
    await expect_rolled_back(world, await world.migrate(), "transfer.worker.gone")


async def test_a_copy_that_breaks_often_but_gets_further_each_time_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """A gateway that is started anew once an hour costs a long copy little, and not the run."""
    monkeypatch.setattr(copying, "HEADWAY", 64 << 10)
    world.mover.fail_times, world.mover.further = 12, 64 << 10
    assert (await world.migrate()).outcome is RunState.DONE


async def test_cancelling_in_the_middle_of_the_copy_brings_the_source_back(world: World):
    async def cancel(progress: Progress) -> None:
        world.context.cancel()

    world.mover.during = cancel
    report = await world.migrate()
    assert report.outcome is RunState.CANCELLED
    assert (await world.source_vm()).power is PowerState.RUNNING
    assert await world.target_vms() == ()


async def test_a_vm_is_not_stopped_while_nobody_can_seal_it(world: World):
    world.sealer.away = True
    await expect_rolled_back(world, await world.migrate(), "signer.process.gone")
    assert not [one for one in world.context.calls if one.startswith(("export", "copy"))]


async def test_suspending_keeps_the_memory(tmp_path: Path):
    world = await new_world(tmp_path, beta=TWIN)
    report = await world.migrate(mode=Mode.SUSPEND)
    assert report.outcome is RunState.DONE
    assert [moved.artifact for moved in report.moved] == ["disk-0", "memory"]
    assert (await world.source_vm()).power is PowerState.SUSPENDED
    (vm,) = await world.target_vms()
    assert vm.nics[0].addresses == ("10.10.0.5/24",)


async def test_memory_does_not_move_where_the_guest_would_wake_up_as_another(world: World):
    with pytest.raises(errors.Blocked) as refusal:
        await world.migrate(mode=Mode.SUSPEND)
    assert "mapping.flavor.memory" in refusal.value.text
    assert "mapping.address.memory" in refusal.value.text
    assert (await world.source_vm()).power is PowerState.RUNNING


async def test_a_stopped_vm_stays_stopped_after_a_rollback(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    await world.alpha.power_off(act("stop"), (await world.source_vm()).id)
    assert (await world.migrate()).outcome is RunState.ROLLED_BACK
    assert (await world.source_vm()).power is PowerState.STOPPED


class TestTestMigration:
    """An isolated copy from a snapshot of the running source."""

    async def test_the_source_goes_on_running_untouched(self, world: World):
        report = await world.migrate(test=True)
        assert report.outcome is RunState.DONE
        source = await world.source_vm()
        assert source.power is PowerState.RUNNING
        assert not source.fenced

    async def test_the_copy_stays_in_quarantine(self, world: World):
        await world.migrate(test=True)
        (copy,) = await world.target_vms()
        assert copy.quarantined
        assert copy.name == "web-test-run-1"

    async def test_an_ill_copy_is_removed(self, tmp_path: Path):
        world = await new_world(tmp_path, guest_health="bad-elsewhere")
        assert (await world.migrate(test=True)).outcome is RunState.ROLLED_BACK
        assert await world.target_vms() == ()
        assert (await world.source_vm()).power is PowerState.RUNNING


class TestManualCommit:
    """A person says commit, or rollback, or nothing."""

    async def test_commit_goes_on(self, world: World):
        world.context.answer("commit", "commit")
        assert (await world.migrate(commit=CommitRule.MANUAL)).outcome is RunState.DONE

    async def test_rollback_brings_the_source_back(self, world: World):
        world.context.answer("commit", "rollback")
        await expect_rolled_back(world, await world.migrate(commit=CommitRule.MANUAL), "commit.declined")

    async def test_silence_until_the_deadline_brings_the_source_back(self, world: World):
        report = await world.migrate(commit=CommitRule.MANUAL, commit_deadline_s=0.01)
        await expect_rolled_back(world, report, "commit.deadline")


class TestHooks:
    """Commands of the operator around phases."""

    async def test_they_run_in_their_place(self, world: World):
        hooks = (
            Hook(name="quiesce", phase="image_creation"),
            Hook(name="announce", phase="network_setup", after=True),
        )
        await world.migrate(hooks=hooks)
        assert world.hooks.ran == ["quiesce", "announce"]

    async def test_one_that_fails_before_the_commit_rolls_back(self, world: World):
        def fail(name: str) -> None:
            raise errors.RolledBack("hook.failed", f"{name} exited with 1.")

        world.hooks.fail = fail
        report = await world.migrate(hooks=(Hook(name="drain", phase="instantiation", after=True),))
        await expect_rolled_back(world, report, "hook.failed")

    async def test_one_that_fails_after_the_commit_is_a_finding_and_no_more(self, world: World):
        def fail(name: str) -> None:
            raise errors.RolledBack("hook.failed", f"{name} exited with 1.")

        world.hooks.fail = fail
        report = await world.migrate(hooks=(Hook(name="announce", phase="network_setup", after=True),))
        assert report.outcome is RunState.DONE
        assert "hook.failed" in [finding.code for finding in report.findings]


class TestBeforeAnythingIsTouched:
    """Bad input: each names what is wrong, and leaves both clouds as they were."""

    async def refuse(self, world: World, code: str, **changes: Any) -> None:
        before = await world.source_vm()
        with pytest.raises(errors.Error) as refusal:
            await world.migrate(**changes)
        assert code in str(refusal.value)
        assert await world.source_vm() == before
        assert await world.target_vms() == ()
        assert await world.context.ledger.entries("run-1") == ()

    async def test_an_unknown_vm(self, world: World):
        await self.refuse(world, "vm.unknown", vm="nobody")

    async def test_an_unknown_flavor(self, world: World):
        await self.refuse(world, "mapping.flavor.unknown", rules=MappingRules(flavor="huge"))

    async def test_an_unknown_network(self, world: World):
        rules = MappingRules(networks={"app": "nowhere"})
        await self.refuse(world, "mapping.network.unknown", rules=rules)

    async def test_a_mapping_for_a_network_that_the_vm_does_not_use(self, world: World):
        rules = MappingRules(networks={"ap": "frontend"})
        await self.refuse(world, "mapping.rule.unused", rules=rules)

    async def test_a_smaller_flavor_that_nobody_accepted(self, world: World):
        await self.refuse(world, "mapping.flavor.smaller", rules=MappingRules(flavor="tiny"))

    async def test_a_name_that_is_taken(self, world: World):
        await world.migrate()
        again = await new_world_beside(world)
        with pytest.raises(errors.Blocked, match=r"target\.name\.taken"):
            await again.migrate()

    async def test_a_hook_that_nobody_registered(self, world: World):
        hooks = (Hook(name="unknown-hook", phase="image_creation"),)
        await self.refuse(world, "hook.unknown", hooks=hooks)

    async def test_a_check_that_fails_at_the_source_already(self, tmp_path: Path):
        world = await new_world(tmp_path, guest_health="bad")
        await self.refuse(world, "check.baseline")

    async def test_a_failing_baseline_may_be_accepted(self, tmp_path: Path):
        world = await new_world(tmp_path, guest_health="bad")
        report = await world.migrate(accept=("check.baseline",))
        await expect_rolled_back(world, report, "check.failed")

    async def test_a_vm_that_is_already_migrating(self, world: World):
        vm = await world.source_vm()
        await world.site.reserve(act("other", run="run-0"), "alpha", vm=vm.id)
        before = await world.source_vm()
        report = await world.migrate()
        assert report.code == "vm.migrating"
        assert await world.source_vm() == before


async def new_world_beside(world: World) -> World:
    """Another run in the same clouds, of a second VM with the same name as the one that moved."""
    await world.alpha.delete_vm(act("retire"), (await world.source_vm()).id)
    return await world.again("run-2")


async def test_a_guest_that_stands_still_at_the_target_is_not_well_without_any_check(
    world: World, tmp_path: Path
):
    still = make_world(world.alpha, HaltingCloud("beta", tmp_path / "beta"))
    await expect_rolled_back(still, await still.migrate(checks=HealthChecks()), "check.failed")
