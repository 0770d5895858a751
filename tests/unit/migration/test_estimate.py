"""Estimates: what they are made of, what a finished migration teaches, and in which words they say so."""

from dataclasses import replace

import pytest

from crossport.migration.estimate import (
    FIRST_ENDS_BPS,
    FIRST_FIXED_S,
    FIRST_LINK_BPS,
    FIRST_VERIFY_BPS,
    Experience,
    HistoryEstimator,
    learned,
    predicted,
)
from crossport.migration.link import Links, Passage
from crossport.model.artifact import Counters, Moved, Place, Rate, Way
from crossport.model.health import Health
from crossport.model.run import (
    MigrationReport,
    MigrationRequest,
    Mode,
    Phase,
    RunState,
    Sync,
    Verify,
    WarmRules,
)
from crossport.model.vm import VM, Disk
from crossport.testing.document import MemoryDocuments
from crossport.testing.world import web_vm
from crossport.units import GIB, MIB

REQUEST = MigrationRequest(vm="web", source="alpha", target="beta")
KNOWN = Experience(ends_bps=800e6, verify_bps=1.6e9, packed=0.5, fixed_s=12.0, outage_fixed_s=10.0, count=3)
LINK = Passage(rate=Rate(size=48 * MIB, seconds=48 * MIB * 8 / 100e6))


def guest(allocated: int | None = GIB) -> VM:
    disk = Disk(id="d", name="root", size=10 * GIB, allocated=allocated, boot=True)
    seed = Disk(id="s", name="seed", size=MIB, seed=True)
    return replace(web_vm(), memory=256 * MIB, disks=(disk, seed))


def report(*, read: int, sent: int, copy_s: float, verify_s: float, total_s: float) -> MigrationReport:
    moved = Moved(
        artifact="disk-0",
        size=10 * GIB,
        chunk_size=256 << 10,
        root="",
        counters=Counters(read=read, sent=sent, written=read),
        seconds=copy_s,
    )
    return MigrationReport(
        run="r",
        request=REQUEST,
        outcome=RunState.DONE,
        moved=(moved,),
        phases=(Phase(name="security_setup", started=0.0, seconds=verify_s),),
        total_seconds=total_s,
        outage_s=total_s - 1,
    )


def test_without_link_and_history_the_assumptions_are_told():
    found = predicted(guest(), REQUEST, None)
    assert found.seconds == pytest.approx(
        GIB * 8 / FIRST_LINK_BPS + GIB * 8 / FIRST_VERIFY_BPS + FIRST_FIXED_S
    )
    assert (
        found.basis
        == "no earlier migration between these clouds: 400 Mbit/s and 15 s besides the copy are assumed"
    )


def test_the_measured_link_bounds_the_copy():
    found = predicted(guest(), REQUEST, None, LINK)
    assert found.seconds == pytest.approx(GIB * 8 / 100e6 + GIB * 8 / FIRST_VERIFY_BPS + FIRST_FIXED_S)
    assert found.basis.startswith("measured now: 100 Mbit/s over 48 MiB; no earlier migration")


def test_a_link_faster_than_the_disks_does_not_make_the_copy_faster():
    fast = Passage(rate=Rate(size=GIB, seconds=0.1))
    assert predicted(guest(), REQUEST, None, fast).seconds == pytest.approx(
        GIB * 8 / FIRST_ENDS_BPS + GIB * 8 / FIRST_VERIFY_BPS + FIRST_FIXED_S
    )


def test_disks_that_shrink_on_the_wire_take_less_of_the_link():
    found = predicted(guest(), REQUEST, KNOWN, LINK)
    assert found.seconds == pytest.approx(GIB * 8 / 200e6 + GIB * 8 / 1.6e9 + 12.0)
    assert found.size == GIB // 2
    assert "3 earlier migrations between these clouds" in found.basis


def test_without_a_measurement_the_reason_is_told_and_history_decides():
    found = predicted(guest(), REQUEST, KNOWN, Passage(why="Nobody answers."))
    assert found.seconds == pytest.approx(GIB * 8 / 800e6 + GIB * 8 / 1.6e9 + 12.0)
    assert found.basis.startswith("not measured (Nobody answers); 3 earlier migrations")


def test_a_test_migration_has_no_outage_and_suspend_carries_the_memory():
    assert predicted(guest(), replace(REQUEST, test=True), None).outage_s == 0.0
    assert predicted(guest(), replace(REQUEST, mode=Mode.SUSPEND), None).size == GIB + 256 * MIB


def test_a_disk_whose_content_is_not_known_counts_whole():
    assert predicted(guest(allocated=None), REQUEST, None).size == 10 * GIB


def test_a_finished_migration_predicts_itself():
    done = report(read=GIB, sent=GIB // 2, copy_s=10.0, verify_s=4.0, total_s=30.0)
    found = predicted(guest(), REQUEST, learned(None, done))
    assert found.seconds == pytest.approx(30.0)
    assert found.outage_s == pytest.approx(29.0)
    assert found.size == GIB // 2


def test_a_slow_link_does_not_make_the_ends_look_slow():
    link = Rate(size=100, seconds=800 / 100e6)
    bound = report(read=GIB, sent=GIB, copy_s=GIB * 8 / 95e6, verify_s=4.0, total_s=120.0)
    after = learned(KNOWN, bound, link)
    assert after is not None
    assert after.ends_bps == KNOWN.ends_bps
    # The same copy over a link that could have carried more was held up by its ends.
    slower = learned(KNOWN, bound, Rate(size=100, seconds=800 / 1e9))
    assert slower is not None
    assert slower.ends_bps < KNOWN.ends_bps


def test_what_failed_or_was_a_test_teaches_nothing():
    done = report(read=GIB, sent=GIB, copy_s=10.0, verify_s=4.0, total_s=30.0)
    assert learned(KNOWN, replace(done, outcome=RunState.ROLLED_BACK)) is KNOWN
    assert learned(KNOWN, replace(done, request=replace(REQUEST, test=True))) is KNOWN
    assert learned(None, replace(done, moved=())) is None


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_an_estimator_learns_and_remembers():
    documents = MemoryDocuments()
    estimator = HistoryEstimator(documents, "default")
    await estimator.learn(report(read=GIB, sent=GIB, copy_s=10.0, verify_s=4.0, total_s=30.0))
    again = HistoryEstimator(documents, "default")
    assert (await again.estimate(guest(), REQUEST)).seconds == pytest.approx(30.0)
    other = HistoryEstimator(documents, "another")
    assert "no earlier migration" in (await other.estimate(guest(), REQUEST)).basis


async def test_an_estimate_rests_on_the_link_where_there_is_a_probe():
    class Probe:
        async def measure(self, source: Place, target: Place) -> Rate:
            return Rate(size=48 * MIB, seconds=1.0)

    async def place(tenant: str, cloud: str, way: Way) -> Place:
        return Place(cloud=cloud, subnet="", address="192.0.2.1")

    estimator = HistoryEstimator(MemoryDocuments(), "default", Links(Probe(), place, StillClock()))
    assert (await estimator.estimate(guest(), REQUEST)).basis.startswith("measured now: 402.7 Mbit/s over")


def test_a_disk_without_data_takes_no_time() -> None:
    empty = replace(web_vm(), disks=(replace(web_vm().disks[0], allocated=0),))
    assert predicted(empty, MigrationRequest(vm="web", source="a", target="b"), None).size == 0


def warm(verify: Verify) -> MigrationRequest:
    return replace(REQUEST, mode=Mode.WARM, warm=WarmRules(verify=verify))


def test_comparing_while_the_copy_starts_costs_no_outage_until_it_takes_longer():
    read_s = GIB * 8 / KNOWN.verify_bps
    assert read_s < KNOWN.outage_fixed_s
    assert predicted(guest(), warm(Verify.REST), KNOWN).outage_s == KNOWN.outage_fixed_s
    assert predicted(guest(), warm(Verify.STREAM), KNOWN).outage_s == KNOWN.outage_fixed_s
    before = predicted(guest(), warm(Verify.REPAIR), KNOWN)
    assert before.outage_s == pytest.approx(KNOWN.outage_fixed_s + read_s)
    large = predicted(guest(10 * GIB), warm(Verify.REST), KNOWN)
    assert large.outage_s == pytest.approx(10 * read_s)


@pytest.mark.parametrize(("verify", "outage_s"), [(Verify.REST, 10.0), (Verify.REPAIR, 12.0)])
def test_a_warm_migration_teaches_what_stopping_and_starting_takes(verify: Verify, outage_s: float):
    syncs = [
        Sync(what=what, started=0.0, seconds=seconds, read=read, sent=read // 2)
        for what, seconds, read in (("first", 8.0, GIB), ("last", 1.0, MIB), ("comparison", 2.0, GIB))
    ]
    moved = replace(
        report(read=GIB, sent=GIB, copy_s=8.0, verify_s=0.5, total_s=outage_s + 1),
        request=warm(verify),
        syncs=tuple(syncs),
        health=Health(good=True, results=(), seconds=6.0),
    )
    found = learned(None, moved)
    assert found is not None
    assert found.outage_fixed_s == pytest.approx(8.5)
    assert found.verify_bps == pytest.approx(GIB * 8 / 2.0)
