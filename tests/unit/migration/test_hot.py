"""A guest that writes one region all the time: that is sent with the last copy, and is never lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.migration.test_warm import Writer
from tests.unit.migration.test_warm_kill import expect_moved, finished, request
from tests.unit.migration.world import BLOCK, RememberingMover, World, new_world

from crossport.model.artifact import Moved, Progress, Ticket
from crossport.model.run import Cutover, MigrationReport, Mode, RunState, Sync, Verify, WarmRules
from crossport.model.vm import PowerState
from crossport.testing.run import KillPoint

HOT_BLOCKS = 4
FIRST_HOT = 3
SYNCS = 6
RULES = WarmRules(cutover=Cutover.MANUAL, verify=Verify.STREAM)


class HotWriter(Writer):
    """Writes the same region each time, and something elsewhere."""

    async def write(self, ticket: Ticket) -> None:
        await super().write(ticket)
        if self.copies >= SYNCS:
            self.world.context.answer("cutover", "cutover")

    async def write_now(self) -> None:
        vm = await self.world.source_vm()
        if vm.power is PowerState.RUNNING:
            with self.world.alpha.disk_path(vm.disks[0].id).open("r+b") as disk:
                disk.seek(FIRST_HOT * BLOCK)
                disk.write(self.random.randbytes(HOT_BLOCKS * BLOCK))
                disk.seek(self.random.randrange(FIRST_HOT + HOT_BLOCKS, vm.disks[0].size // BLOCK) * BLOCK)
                disk.write(self.random.randbytes(100))


class OlderMover(RememberingMover):
    """One whose workers know nothing of heat."""

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        moved = await super().move(replace(read, heat=(), defers=False), write, report)
        return replace(moved, heat=())


async def hot_world(root: Path, mover: type[RememberingMover] = RememberingMover) -> World:
    world = await new_world(root, mover=mover)
    world.context.answer("cutover", None)
    world.mover.after = HotWriter(world).write
    return world


async def moved(root: Path, mover: type[RememberingMover]) -> tuple[World, MigrationReport]:
    world = await hot_world(root, mover)
    report = await world.migrate(mode=Mode.WARM, warm=RULES, accept=("verify.stream",))
    await expect_moved(world, report)
    return world, report


def sent(syncs: tuple[Sync, ...]) -> int:
    return sum(sync.sent for sync in syncs)


async def test_what_is_written_all_the_time_is_sent_first_and_last_and_hardly_between(tmp_path: Path):
    world, report = await moved(tmp_path / "new", RememberingMover)
    _, older = await moved(tmp_path / "old", OlderMover)
    hot = HOT_BLOCKS * BLOCK
    assert [sync.what for sync in report.syncs] == ["first", *["delta"] * (SYNCS - 1), "last"]
    assert [sync.owed for sync in report.syncs] == [0, 0, *[hot] * (SYNCS - 2), 0]
    assert sent(older.syncs) - sent(report.syncs) == (SYNCS - 2) * hot
    assert report.syncs[-1].sent == older.syncs[-1].sent
    told = [event.text for event in world.context.events if event.text.startswith("Sync")]
    assert ["change all the time, and are left to the cutover." in text for text in told] == [
        bool(sync.owed) for sync in report.syncs[:-1]
    ]
    assert not any(one.heat for one in report.moved)


class SlowMover(RememberingMover):
    """One that reads a block a second."""

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        moved = await super().move(read, write, report)
        self.clock.now += moved.counters.read / BLOCK
        return moved


async def test_the_outage_that_is_told_has_room_for_what_is_owed(tmp_path: Path):
    """What is left out would make a copy of one second, and the cutover would take five more than allowed."""
    world = await hot_world(tmp_path, SlowMover)
    rules = replace(RULES, cutover=Cutover.AUTO, max_outage_s=5.0)
    accept = ("verify.stream", "warm.convergence")
    report = await world.migrate(mode=Mode.WARM, warm=rules, accept=accept)
    await expect_moved(world, report)
    *_, first, second, last = report.syncs
    assert (first.owed, second.owed) == (HOT_BLOCKS * BLOCK,) * 2
    assert second.seconds + 1 < rules.max_outage_s < last.seconds + 1
    assert report.outage_s is not None
    told = [event.text for event in world.context.events if "A cutover now would take" in event.text]
    said = float(told[-1].split("about ")[1].split(" s")[0])
    assert said == pytest.approx(report.outage_s, abs=1.5)


async def test_what_has_cooled_down_is_sent_before_the_cutover(tmp_path: Path):
    world = await hot_world(tmp_path)
    writer = HotWriter(world)

    async def write(ticket: Ticket) -> None:
        if writer.copies < 3:
            await writer.write(ticket)
            return
        writer.copies += 1
        if writer.copies == SYNCS:
            world.context.answer("cutover", "cutover")

    world.mover.after = write
    report = await world.migrate(mode=Mode.WARM, warm=RULES, accept=("verify.stream",))
    await expect_moved(world, report)
    hot = HOT_BLOCKS * BLOCK
    assert [sync.owed for sync in report.syncs] == [0, 0, hot, hot, hot, 0, 0]
    assert [sync.read for sync in report.syncs[-3:]] == [0, hot, 0]


async def test_a_test_compares_what_was_owed_as_well(tmp_path: Path):
    world = await hot_world(tmp_path)
    report = await world.migrate(mode=Mode.WARM, test=True)
    assert (report.outcome, report.verified) == (RunState.DONE, "at rest")


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize(
    "step",
    [f"sync-{number}-{what}" for number in (2, 3, 4) for what in ("open", "disk-0")]
    + ["tell-sync-3", "cutover-open", "cutover-disk-0"],
)
async def test_whoever_is_killed_nothing_that_is_owed_is_lost(tmp_path: Path, step: str, point: KillPoint):
    """The guest writes its hot region once more meanwhile, so that an old one would be seen."""
    world = await hot_world(tmp_path)
    report, _ = await finished(world, request(world, warm=RULES), step, point, HotWriter(world))
    await expect_moved(world, report)
    assert any(sync.owed for sync in report.syncs)
