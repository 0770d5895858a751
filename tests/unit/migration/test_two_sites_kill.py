"""Kill either control plane at every boundary of a migration between two sites, over a bad link.

The initiator dies before, after and behind each step, while answers are lost, messages come twice, or all
that was sent before comes again behind each one. The serving site dies before it is asked, before it kept its
answer, and before that arrived. The world ends the same each time; a message that comes when all is over, by
an initiator that never heard of it, finds nothing to do.
"""

from pathlib import Path

import pytest
from tests.unit.migration.test_cold_kill import BACK, STEPS
from tests.unit.migration.two_sites import TwoSites, between, two_sites
from tests.unit.migration.unsteady_link import Dying, Fault, Late, Recorder, unsteady
from tests.unit.migration.world import disk_bytes

from crossport.migration.cold import ColdMigration
from crossport.migration.partner.foreign import foreign_id
from crossport.model.run import LedgerState, MigrationReport, RunState
from crossport.model.vm import PowerState
from crossport.testing.run import Killed, KillPoint

SERVED_TARGET = (
    "prepare-import",
    "ticket",
    "admit",
    "verify",
    "inspect",
    "instantiate",
    "check",
    "prepare-commit",
    "open",
    "clean",
)
SERVED_SOURCE = ("describe", "reserve", "export", "ticket", "seal", "permit", "clean")
SERVED = (*(("a", one) for one in SERVED_TARGET), *(("b", one) for one in SERVED_SOURCE))
SERVED_BACK = (("a", "discard"), ("a", "clean"), ("b", "withdraw"), ("b", "release"), ("b", "clean"))


async def migrated(two: TwoSites, initiator: str) -> MigrationReport:
    return await ColdMigration(
        two.world.context, two.world.request(**between(initiator)), two.world.parts
    ).run()


async def killed_once(two: TwoSites, initiator: str, step: str, point: KillPoint) -> MigrationReport:
    """Migrate, die once, and let the successor finish; never may both VMs run."""
    world, request = two.world, two.world.request(**between(initiator))
    world.context.kill(step, point)
    with pytest.raises(Killed):
        await ColdMigration(world.context, request, world.parts).run()
    assert len(await world.running()) <= 1
    (two.a if initiator == "a" else two.b).start()
    world.context = world.context.successor()
    return await migrated(two, initiator)


async def gone_over(two: TwoSites, initiator: str) -> None:
    """Check that the target is the VM, and that each site has cleaned up."""
    world, other = two.world, foreign_id(initiator, "run-1")
    source, (copy,) = await world.source_vm(), await world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
    assert disk_bytes(world.beta, copy) == disk_bytes(world.alpha, source)
    await tidy(two, {LedgerState.KEPT}, "run-1" if initiator == "b" else other)


async def come_back(two: TwoSites, initiator: str) -> None:
    """Check that the source is the VM as it was, and that each site has cleaned up."""
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await two.world.target_vms() == ()
    run = "run-1" if initiator == "b" else foreign_id(initiator, "run-1")
    assert await two.world.beta.tagged(run) == ()
    await tidy(two, {LedgerState.REMOVED}, run)


async def tidy(two: TwoSites, ends: set[LedgerState], run: str) -> None:
    assert {one.state for one in await two.b.ledger.entries(run)} <= ends
    for site, cloud in ((two.a, "alpha"), (two.b, "beta")):
        assert await site.documents.list("reservation", object, prefix=f"default/{cloud}/") == ()


def initiator_of(*parts: str) -> str:
    """Return one of both, so that all of a kind together have both."""
    return "ab"[sum(map(ord, "".join(parts))) % 2]


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", STEPS)
async def test_an_initiator_that_dies_on_a_bad_link_ends_the_same(
    tmp_path: Path, step: str, point: KillPoint, fault: Fault
):
    initiator = initiator_of(step, point, fault)
    two = await two_sites(tmp_path, initiator)
    unsteady(two, fault)
    report = await killed_once(two, initiator, step, point)
    assert report.outcome is RunState.DONE, report.text
    await gone_over(two, initiator)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", BACK)
async def test_an_initiator_that_dies_on_the_way_back_ends_the_same(
    tmp_path: Path, step: str, point: KillPoint, fault: Fault
):
    initiator = initiator_of(step, point, fault)
    two = await two_sites(tmp_path, initiator, guest_health="bad-elsewhere")
    unsteady(two, fault)
    report = await killed_once(two, initiator, step, point)
    assert report.outcome is RunState.ROLLED_BACK, report.text
    await come_back(two, initiator)


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize(("initiator", "call"), SERVED)
async def test_a_serving_site_that_dies_does_everything_once(
    tmp_path: Path, initiator: str, call: str, point: KillPoint
):
    two = await two_sites(tmp_path, initiator)
    dying = Dying(two.b if initiator == "a" else two.a, f"site.{call}", point)
    report = await migrated(two, initiator)
    assert report.outcome is RunState.DONE, report.text
    assert dying.asked >= 2
    await gone_over(two, initiator)


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize(("initiator", "call"), SERVED_BACK)
async def test_a_serving_site_that_dies_on_the_way_back_does_everything_once(
    tmp_path: Path, initiator: str, call: str, point: KillPoint
):
    two = await two_sites(tmp_path, initiator, guest_health="bad-elsewhere")
    dying = Dying(two.b if initiator == "a" else two.a, f"site.{call}", point)
    report = await migrated(two, initiator)
    assert report.outcome is RunState.ROLLED_BACK, report.text
    assert dying.asked >= 2
    await come_back(two, initiator)


@pytest.mark.parametrize(("initiator", "call"), SERVED)
async def test_a_message_that_comes_when_all_is_done_changes_nothing(
    tmp_path: Path, initiator: str, call: str
):
    two = await two_sites(tmp_path, initiator)
    late = Late(two.b if initiator == "a" else two.a, f"site.{call}")
    report = await migrated(two, initiator)
    assert report.outcome is RunState.DONE, report.text
    await late.deliver()
    await gone_over(two, initiator)


@pytest.mark.parametrize(("initiator", "call"), [*SERVED[:6], *SERVED[9:13], *SERVED_BACK])
async def test_a_message_that_comes_when_all_was_undone_changes_nothing(
    tmp_path: Path, initiator: str, call: str
):
    two = await two_sites(tmp_path, initiator, guest_health="bad-elsewhere")
    late = Late(two.b if initiator == "a" else two.a, f"site.{call}")
    report = await migrated(two, initiator)
    assert report.outcome is RunState.ROLLED_BACK, report.text
    await late.deliver()
    await come_back(two, initiator)


@pytest.mark.parametrize("initiator", ["a", "b"])
@pytest.mark.parametrize("later_s", [0.0, 10_000.0])
async def test_recorded_traffic_played_back_changes_nothing(tmp_path: Path, initiator: str, later_s: float):
    two = await two_sites(tmp_path, initiator)
    serving = two.b if initiator == "a" else two.a
    recorder = Recorder(serving)
    assert (await migrated(two, initiator)).outcome is RunState.DONE
    two.world.clock.now += later_s
    await serving.peer.close()
    codes = await recorder.play()
    if later_s:
        assert codes == ["message.time.off"] * len(recorder.sent)
    else:
        assert codes == []  # each is answered as it was, and nothing is made
    await gone_over(two, initiator)
