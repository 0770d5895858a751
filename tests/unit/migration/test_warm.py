"""A warm migration between two simulated clouds: the guest writes meanwhile, and is off only at the end.

The guest writes whenever a copy has just ended, at places that the seed of the test chooses.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.world import World, act, disk_bytes, new_world

from crossport import errors
from crossport.model.artifact import (
    Artifact,
    Consistency,
    Copied,
    Digest,
    DiskRef,
    Export,
    ExportPoint,
    Marks,
    Moved,
    Place,
    Ticket,
)
from crossport.model.health import Health, HealthChecks
from crossport.model.run import PHASES, Act, Cutover, LedgerState, Mode, RunState, Verify, WarmRules
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import RoomFor
from crossport.spi.site import Compared
from crossport.transfer.frame import malformed


class Writer:
    """The guest's programs: write when they are told to, as long as the guest runs."""

    def __init__(self, world: World, seed: int = 1) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 - places, not secrets
        self.copies = 0

    async def write(self, ticket: Ticket) -> None:
        del ticket
        self.copies += 1
        await self.write_now()

    async def write_now(self) -> None:
        vm = await self.world.source_vm()
        if vm.power is PowerState.RUNNING:
            with self.world.alpha.disk_path(vm.disks[0].id).open("r+b") as disk:
                for _ in range(3):
                    disk.seek(4096 + self.random.randrange(vm.disks[0].size - 8192))
                    disk.write(self.random.randbytes(100))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await new_world(tmp_path)
    world.mover.after = Writer(world).write
    return world


async def test_what_the_guest_wrote_meanwhile_arrives(world: World):
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
    source, (vm,) = await world.source_vm(), await world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (vm.power, vm.quarantined) == (PowerState.RUNNING, False)
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, source)
    assert [sync.what for sync in report.syncs] == ["first", "delta", "last", "comparison"]
    assert sorted(phase.name for phase in report.phases) == sorted(PHASES)


async def test_it_waits_for_a_person_and_goes_on_copying(world: World):
    world.context.answer("cutover", None)
    writer = Writer(world)

    async def write(ticket: Ticket) -> None:
        await writer.write(ticket)
        if writer.copies == 4:
            world.context.answer("cutover", "cutover")

    world.mover.after = write
    report = await world.migrate(mode=Mode.WARM, warm=WarmRules(cutover=Cutover.MANUAL))
    assert report.outcome is RunState.DONE
    assert [sync.what for sync in report.syncs] == ["first", *["delta"] * 3, "last", "comparison"]
    gaps = [later.started - earlier.started for earlier, later in pairwise(report.syncs[1:4])]
    assert all(300.0 <= gap < 305.0 for gap in gaps)
    told = [event.text for event in world.context.events if "Sync" in event.text]
    assert "crossport run cutover run-1" in told[-2]
    assert "cutover now would take" in told[1]


async def test_an_order_that_comes_early_still_copies_the_changes_first(world: World):
    world.context.answer("cutover", "cutover")
    report = await world.migrate(mode=Mode.WARM, warm=WarmRules(cutover=Cutover.MANUAL))
    assert [sync.what for sync in report.syncs] == ["first", "delta", "last", "comparison"]


async def test_without_an_order_it_rolls_back_in_the_end(world: World):
    world.context.answer("cutover", None)
    rules = WarmRules(cutover=Cutover.MANUAL, deadline_s=1000.0)
    report = await world.migrate(mode=Mode.WARM, warm=rules)
    await expect_rolled_back(world, report, "cutover.deadline")
    assert report.outage_s == 0.0
    assert len(report.syncs) == 6


async def test_it_goes_over_at_the_time_that_was_set(world: World):
    world.context.answer("cutover", None)
    at = world.clock.now + 1000.0
    report = await world.migrate(mode=Mode.WARM, warm=WarmRules(cutover_at=at))
    assert report.outcome is RunState.DONE
    last, before = report.syncs[-2], report.syncs[-3]
    assert last.what == "last"
    assert last.started >= at
    assert at - before.started < 10


async def test_a_guest_that_writes_faster_than_is_copied_is_told_with_figures(world: World):
    world.context.answer("cutover", None)
    writer = Writer(world)

    async def busy(ticket: Ticket) -> None:
        world.clock.now += 50.0  # every copy takes as long as the one before
        await writer.write(ticket)
        if writer.copies == 6:
            world.context.answer("cutover", "cutover")

    world.mover.after = busy
    report = await world.migrate(mode=Mode.WARM, warm=WarmRules(max_outage_s=30.0))
    assert report.outcome is RunState.DONE
    (stuck,) = [finding for finding in report.findings if finding.code == "warm.convergence"]
    assert "--max-outage allows 30.0 s" in stuck.text
    assert "bit/s" in stuck.text
    assert "crossport run cutover run-1" in stuck.remedy
    assert [event.finding for event in world.context.events if event.finding].count(stuck) == 1
    assert report.outage_s is not None
    assert report.outage_s >= 50.0


async def test_who_accepts_beforehand_is_not_asked(world: World):
    writer = Writer(world)

    async def busy(ticket: Ticket) -> None:
        world.clock.now += 50.0
        await writer.write(ticket)

    world.mover.after = busy
    rules = WarmRules(max_outage_s=30.0)
    report = await world.migrate(mode=Mode.WARM, warm=rules, accept=("warm.convergence",))
    assert [sync.what for sync in report.syncs] == ["first", "delta", "delta", "last", "comparison"]


async def test_what_is_not_compared_is_told_as_stream_only(world: World):
    rules = WarmRules(verify=Verify.STREAM)
    report = await world.migrate(mode=Mode.WARM, warm=rules, accept=("verify.stream",))
    assert (report.outcome, report.verified) == (RunState.DONE, "stream only")
    assert [sync.what for sync in report.syncs] == ["first", "delta", "last"]
    (vm,) = await world.target_vms()
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, await world.source_vm())


async def test_a_target_that_lies_in_the_last_copy_is_never_committed_to_also_unread(world: World):
    """What the sender's end then says: `tests/unit/transfer/test_coverage.py`."""

    async def found_out(ticket: Ticket) -> None:
        del ticket
        if (await world.source_vm()).power is PowerState.STOPPED:
            raise malformed("it tells another root than that of what was read")

    world.mover.after = found_out
    rules = WarmRules(verify=Verify.STREAM)
    report = await world.migrate(mode=Mode.WARM, warm=rules, accept=("verify.stream",))
    await expect_rolled_back(world, report, "transfer.peer.malformed")
    assert "commit-source" not in world.context.calls


async def test_the_copy_is_read_back_after_each_sync_and_compared_while_it_starts(world: World):
    report = await world.migrate(mode=Mode.WARM)
    assert report.verified == "at rest"
    calls = world.context.calls
    order = [
        calls.index(step) for step in ("sync-0-back", "sync-1-back", "cutover-open", "verify", "compare")
    ]
    assert order == sorted(order)
    assert abs(calls.index("check") - calls.index("compare")) == 1
    assert calls.index("compare") < calls.index("commit-source")


async def test_volumes_that_cannot_be_told_apart_are_read_in_the_end_alone(world: World):
    prepare = world.beta.prepare_import

    async def nameless(act: Act, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        made = await prepare(act, rooms)
        return tuple(replace(one, ref=replace(one.ref, identity="")) for one in made)

    inside: Any = world.beta
    inside.prepare_import = nameless
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
    assert not [step for step in world.context.calls if step.endswith("-back")]


async def test_an_ill_guest_does_not_wait_for_the_comparison(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    read, never = world.mover.digest, asyncio.Event()

    async def endless(ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None) -> Digest:
        if copied is None:
            await never.wait()
        return await read(ref, place, chunk_size, copied)

    inside: Any = world.mover
    inside.digest = endless
    report = await world.migrate(mode=Mode.WARM)
    await expect_rolled_back(world, report, "check.failed")
    assert "comparison" not in [sync.what for sync in report.syncs]


async def test_a_copy_that_differs_does_not_wait_for_its_guest(tmp_path: Path):
    world = await new_world(tmp_path)
    read = world.mover.digest

    async def other(ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None) -> Digest:
        found = await read(ref, place, chunk_size, copied)
        return found if copied else replace(found, root="0" * 64)

    checked = world.site.check

    async def silent(cloud: str, vm_id: str, checks: HealthChecks) -> Health:
        if cloud == "beta":
            await asyncio.Event().wait()
        return await checked(cloud, vm_id, checks)

    inside: Any = world.mover
    inside.digest = other
    inside = world.site
    inside.check = silent
    report = await world.migrate(mode=Mode.WARM)
    await expect_rolled_back(world, report, "warm.copy.differs")


async def test_a_comparison_that_broke_off_opens_the_source_anew(world: World):
    opened, compare, export = list[str](), world.site.compare, world.alpha.export_changes

    async def counted(act: Act, vm_id: str, point: ExportPoint, marks: Marks) -> Export:
        opened.append(act.step)
        return await export(act, vm_id, point, marks)

    async def broken_off(
        act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> Compared:
        if opened.count("cutover-open") == 1:
            raise errors.Unavailable("nbd.connection.lost", "The export is gone.")
        return await compare(act, cloud, artifacts, moved)

    inside: Any = world.alpha
    inside.export_changes = counted
    inside = world.site
    inside.compare = broken_off
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
    assert opened.count("cutover-open") == 2


async def test_a_health_check_that_cannot_be_made_is_told_as_it_is(world: World):
    checked = world.site.check

    async def refused(cloud: str, vm_id: str, checks: HealthChecks) -> Health:
        if cloud == "beta":
            raise errors.Refused("check.door.closed", "Nobody may ask the guest.", remedy="Open it.")
        return await checked(cloud, vm_id, checks)

    inside: Any = world.site
    inside.check = refused
    report = await world.migrate(mode=Mode.WARM)
    await expect_rolled_back(world, report, "check.door.closed")


async def test_a_test_leaves_the_source_alone_and_starts_an_isolated_copy(world: World):
    report = await world.migrate(mode=Mode.WARM, test=True)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
    assert (await world.source_vm()).power is PowerState.RUNNING
    (vm,) = await world.target_vms()
    assert vm.quarantined
    assert [sync.what for sync in report.syncs] == ["first", "delta", "comparison"]


@pytest.mark.parametrize(("agent", "told"), [("yes", Consistency.FROZEN), ("", Consistency.CRASH)])
async def test_a_test_tells_how_its_guest_finds_its_disks(tmp_path: Path, agent: str, told: Consistency):
    world = await new_world(tmp_path, guest_agent=agent)
    report = await world.migrate(mode=Mode.WARM, test=True)
    assert report.consistency is told
    assert {sync.consistency for sync in report.syncs} == {told}


async def test_after_a_shutdown_the_disks_are_as_the_guest_left_them(tmp_path: Path):
    world = await new_world(tmp_path, guest_agent="yes")
    report = await world.migrate(mode=Mode.WARM)
    assert report.consistency is Consistency.OFF
    assert [sync.consistency for sync in report.syncs][-2:] == [Consistency.OFF] * 2
    assert report.syncs[0].consistency is Consistency.FROZEN


async def test_an_ill_guest_brings_the_source_back_and_ends_the_tracking(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    world.mover.after = Writer(world).write
    report = await world.migrate(mode=Mode.WARM)
    await expect_rolled_back(world, report, "check.failed")
    assert list((tmp_path / "alpha/marks").iterdir()) == []
    entries = await world.context.ledger.entries("run-1", "alpha")
    assert {one.kind: one.state for one in entries} == {
        "export": LedgerState.REMOVED,
        "tracking": LedgerState.REMOVED,
    }


async def test_a_guest_that_will_not_shut_down_runs_on(tmp_path: Path):
    world = await new_world(tmp_path, guest_shutdown="refuse")
    await expect_rolled_back(world, await world.migrate(mode=Mode.WARM), "vm.shutdown.refused")


async def test_a_disk_that_grew_meanwhile_stops_the_migration(world: World):
    async def grow(ticket: Ticket) -> None:
        vm = await world.source_vm()
        disks = (replace(vm.disks[0], size=vm.disks[0].size * 2), *vm.disks[1:])
        inside: Any = world.alpha
        inside._store.put("vms", vm.id, replace(vm, disks=disks))

    world.mover.after = grow
    report = await world.migrate(mode=Mode.WARM)
    await expect_rolled_back(world, report, "warm.disks.changed")
    assert "disk-0 of 2 MiB now, and had disk-0 of 1 MiB" in report.text


Change = Callable[[VM], VM]


def second_disk(vm: VM) -> VM:
    return replace(vm, disks=(*vm.disks, replace(vm.disks[0], id="second")))


def second_nic(vm: VM) -> VM:
    return replace(vm, nics=(*vm.nics, replace(vm.nics[0], mac="52:54:00:00:00:99")))


def other_group(vm: VM) -> VM:
    return replace(vm, nics=(replace(vm.nics[0], security_groups=("open",)),))


CHANGES: list[tuple[Change, str, str]] = [
    (second_disk, "warm.disks.changed", "disk-1 of"),
    (lambda vm: replace(vm, disks=()), "warm.disks.changed", "no disk now"),
    (second_nic, "warm.vm.changed", ":99"),
    (other_group, "warm.vm.changed", "(open) now"),
    (lambda vm: replace(vm, memory=vm.memory * 2), "warm.vm.changed", "of memory now"),
]


@pytest.mark.parametrize(
    ("change", "code", "words"), CHANGES, ids=["disk", "no-disk", "nic", "group", "memory"]
)
async def test_a_vm_that_becomes_another_one_meanwhile_stops_the_migration(
    world: World, change: Change, code: str, words: str
):
    async def alter(ticket: Ticket) -> None:
        vm = await world.source_vm()
        inside: Any = world.alpha
        if vm.disks:
            now = change(vm)
            for disk in now.disks[1:]:
                inside._store.make_disk(disk.id, disk.size)
            inside._store.put("vms", vm.id, now)
        world.mover.after = None

    world.mover.after = alter
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.code) == (RunState.ROLLED_BACK, code)
    assert words in report.text
    assert report.outage_s == 0.0
    assert (await world.source_vm()).power is PowerState.RUNNING
    assert await world.target_vms() == ()


async def test_a_snapshot_that_is_taken_meanwhile_stays_behind_and_is_told(world: World):
    async def keep(ticket: Ticket) -> None:
        vm = await world.source_vm()
        inside: Any = world.alpha
        inside._store.put("vms", vm.id, replace(vm, disks=(replace(vm.disks[0], snapshots=("mine",)),)))

    world.mover.after = keep
    report = await world.migrate(mode=Mode.WARM)
    assert report.outcome is RunState.DONE
    assert [one.code for one in report.findings].count("warm.snapshot.taken") == 1
    told = [event.finding for event in world.context.events if event.finding]
    assert [one.code for one in told].count("warm.snapshot.taken") == 1
    (vm,) = await world.target_vms()
    assert vm.disks[0].snapshots == ()


@pytest.mark.parametrize("starts_again", [True, False], ids=["rebooted", "shut-down"])
async def test_a_guest_that_somebody_else_stops_meanwhile_is_followed_on(world: World, starts_again: bool):
    writer = Writer(world)

    async def stop(ticket: Ticket) -> None:
        await writer.write(ticket)
        vm = await world.source_vm()
        if writer.copies == 1:
            await world.alpha.shut_down(act("stop"), vm.id, 1.0)
            if starts_again:
                await world.alpha.start(act("start"), vm.id)
                await writer.write_now()

    world.mover.after = stop
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")
    source, (vm,) = await world.source_vm(), await world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert disk_bytes(world.beta, vm) == disk_bytes(world.alpha, source)


async def test_cancelled_while_it_follows_it_leaves_nothing(world: World):
    async def cancel(ticket: Ticket) -> None:
        world.context.cancel()

    world.mover.after = cancel
    report = await world.migrate(mode=Mode.WARM)
    assert report.outcome is RunState.CANCELLED
    assert (await world.source_vm()).power is PowerState.RUNNING
    assert await world.beta.tagged("run-1") == ()


async def test_a_vm_that_is_off_moves_cold(world: World):
    vm = await world.source_vm()
    await world.alpha.power_off(act("off"), vm.id)
    with pytest.raises(errors.Blocked) as blocked:
        await world.migrate(mode=Mode.WARM)
    assert blocked.value.code == "vm.warm.stopped"
