"""Limits: kept and refused, by time of day, and followed by copies under way while they are changed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.migration.limits import Limits, checked, rate_at
from crossport.model import codec
from crossport.model.artifact import DiskRef, Place, Ticket, Way
from crossport.model.limit import LinkLimit, RateWindow, RunLimit
from crossport.spi.limit import Passing
from crossport.testing.document import MemoryDocuments
from crossport.transfer.confined import LocalHost
from crossport.transfer.simple import SimpleMover

MBIT = 1_000_000
NIGHT = RateWindow(start="22:00", end="06:00")
DAY = RateWindow(start="08:00", end="18:00", rate_bps=20 * MBIT)


class Time:
    """A clock that a test moves; what sleeps on it would sleep for ever."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps {seconds} s by this clock")


def link(
    rate: int | None = 100 * MBIT, *windows: RateWindow, zone: str = "UTC", to: str = "beta"
) -> LinkLimit:
    return LinkLimit(source="alpha", target=to, rate_bps=rate, windows=windows, zone=zone)


def ticket(way: Way, tenant: str, run: str, artifact: str = "disk-0") -> Ticket:
    cloud = "alpha" if way is Way.READ else "beta"
    return Ticket(
        id=f"{run}-{way}",
        tenant=tenant,
        run=run,
        epoch=1,
        artifact=artifact,
        way=way,
        ref=DiskRef(kind="memory", locator="x", size=1),
        place=Place(cloud=cloud, subnet="export", address="::1"),
        byte_budget=1,
        expires=2e9,
        nonce="",
    )


class Heard:
    """A copy under way, and the rates it was told."""

    def __init__(self, passing: Passing) -> None:
        self.passing = passing
        self.told = asyncio.Condition()
        self.rates = list[int | None]()
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for rate in self.passing.rates():
            async with self.told:
                self.rates.append(rate)
                self.told.notify_all()

    async def until(self, rate: int | None) -> None:
        async with asyncio.timeout(30):
            async with self.told:
                await self.told.wait_for(lambda: self.rates[-1:] == [rate])


@asynccontextmanager
async def copying(
    limits: Limits, run: str, tenant: str = "t1", artifact: str = "disk-0"
) -> AsyncGenerator[Heard]:
    read, write = (ticket(way, tenant, run, artifact) for way in (Way.READ, Way.WRITE))
    async with limits.passing(read, write) as passing:
        heard = Heard(passing)
        try:
            yield heard
        finally:
            heard.task.cancel()


@pytest.fixture
def documents() -> MemoryDocuments:
    return MemoryDocuments()


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def limits(documents: MemoryDocuments, moment: Time) -> Limits:
    return Limits(lambda: documents, moment, "node-1", tick_s=0.02)


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (link(to="alpha"), "target"),
        (link(zone="Europe/Atlantis"), "zone"),
        (link(zone="../../etc/passwd"), "zone"),
        (link(None), "rate_bps"),
        (link(None, NIGHT), "rate_bps"),
        (link(MBIT, RateWindow(start="08:00", end="08:00")), "windows.0"),
        (link(MBIT, DAY, RateWindow(start="17:59", end="19:00")), "windows.1"),
        (link(MBIT, NIGHT, DAY, RateWindow(start="05:00", end="07:00")), "windows.2"),
    ],
    ids=[
        "own-target",
        "no-zone",
        "zone-as-path",
        "no-bound",
        "no-bound-at-all",
        "empty",
        "overlap",
        "overnight",
    ],
)
async def test_a_limit_that_contradicts_itself_is_refused_by_its_field(
    limits: Limits, limit: LinkLimit, field: str
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await limits.set_link(limit)
    assert (caught.value.code, caught.value.field) == ("limit.contradiction", field)
    assert caught.value.remedy
    assert await limits.links() == ()


@pytest.mark.parametrize(
    ("moment_utc", "expected"),
    [
        ("2026-01-15T06:59", 100 * MBIT),
        ("2026-01-15T07:00", 20 * MBIT),
        ("2026-01-15T16:59", 20 * MBIT),
        ("2026-01-15T17:00", 100 * MBIT),
        ("2026-01-15T21:00", None),
        ("2026-01-15T04:59", None),
        ("2026-01-15T05:00", 100 * MBIT),
        ("2026-07-15T06:00", 20 * MBIT),
        ("2026-07-15T20:00", None),
    ],
)
def test_a_window_is_a_time_of_day_where_its_zone_is(moment_utc: str, expected: int | None) -> None:
    limit = checked(link(100 * MBIT, DAY, NIGHT, zone="Europe/Berlin"))
    assert rate_at(limit, datetime.fromisoformat(moment_utc).replace(tzinfo=UTC)) == expected


def test_a_window_may_be_the_whole_day() -> None:
    limit = checked(link(None, RateWindow(start="00:00", end="24:00", rate_bps=MBIT)))
    assert rate_at(limit, datetime(2026, 1, 1, 23, 59, tzinfo=UTC)) == MBIT


async def test_limits_are_kept_listed_and_removed(limits: Limits) -> None:
    await limits.set_link(link())
    status = await limits.set_link(link(50 * MBIT))
    assert await limits.links() == (status,)
    assert status.now_bps == 50 * MBIT
    await limits.remove_link("alpha", "beta")
    with pytest.raises(errors.NotFound, match=r"limit\.unknown"):
        await limits.remove_link("alpha", "beta")


async def test_a_copy_without_limits_is_told_that_there_is_none(limits: Limits) -> None:
    async with copying(limits, "run-1") as copy:
        await copy.until(None)


async def test_a_copy_knows_its_limit_before_its_first_byte_and_follows_every_change(limits: Limits) -> None:
    await limits.set_link(link())
    async with copying(limits, "run-1") as copy:
        await copy.until(100 * MBIT)
        assert copy.rates == [100 * MBIT]
        await limits.set_run("run-1", RunLimit(rate_bps=10 * MBIT))
        await copy.until(10 * MBIT)
        assert (await limits.run_limit("run-1")).rate_bps == 10 * MBIT
        await limits.set_run("run-1", RunLimit(rate_bps=None))
        await copy.until(100 * MBIT)
        await limits.remove_link("alpha", "beta")
        await copy.until(None)
    assert (await limits.run_limit("run-1")).rate_bps is None


async def test_tenants_share_equally_and_get_the_rest_when_one_is_done(limits: Limits) -> None:
    await limits.set_link(link())
    async with copying(limits, "run-1", "t1") as first:
        async with (
            copying(limits, "run-2", "t2") as second,
            copying(limits, "run-2", "t2", "disk-1") as third,
        ):
            await first.until(50 * MBIT)
            await second.until(25 * MBIT)
            await third.until(25 * MBIT)
        await first.until(100 * MBIT)


async def test_what_a_slow_copy_does_not_use_goes_to_the_others(limits: Limits, moment: Time) -> None:
    await limits.set_link(link())
    async with copying(limits, "run-1", "t1") as slow, copying(limits, "run-2", "t2") as fast:
        await fast.until(50 * MBIT)
        for second in range(4):
            slow.passing.sent(second * 8 * MBIT // 8)
            fast.passing.sent(second * 50 * MBIT // 8)
            moment.now += 1.0
        await fast.until(90 * MBIT)
        await slow.until(10 * MBIT)
        for second in range(4):
            slow.passing.sent(3 * MBIT + second * 10 * MBIT // 8)
            moment.now += 1.0
        await slow.until(50 * MBIT)


async def test_a_window_that_begins_holds_for_a_copy_under_way(limits: Limits, moment: Time) -> None:
    moment.now = datetime(2026, 1, 15, 7, 59, 59, tzinfo=UTC).timestamp()
    await limits.set_link(link(100 * MBIT, DAY))
    async with copying(limits, "run-1") as copy:
        await copy.until(100 * MBIT)
        moment.now += 1.0
        await copy.until(20 * MBIT)


async def test_nodes_that_share_a_database_share_the_link(
    limits: Limits, documents: MemoryDocuments, moment: Time
) -> None:
    other = Limits(lambda: documents, moment, "node-2", tick_s=0.02)
    await limits.set_link(link())
    async with copying(limits, "run-1", "t1") as here:
        async with copying(other, "run-2", "t2") as there:
            await here.until(50 * MBIT)
            await there.until(50 * MBIT)
        await here.until(100 * MBIT)


async def test_a_node_that_died_gives_its_share_back(
    limits: Limits, documents: MemoryDocuments, moment: Time
) -> None:
    await limits.set_link(link())
    dead = Limits(lambda: documents, moment, "node-2", tick_s=0.02)
    passing = dead.passing(ticket(Way.READ, "t2", "run-2"), ticket(Way.WRITE, "t2", "run-2"))
    async with copying(limits, "run-1", "t1") as here:
        async with passing:
            await here.until(50 * MBIT)
            kept = await documents.list("limit.passing", object)
        # What it said last lies there again, as if it had been killed.
        for each in kept:
            await documents.put("limit.passing", each.key, each.value)
        async with asyncio.timeout(30):
            while here.rates[-1:] != [100 * MBIT]:
                moment.now += 4.0
                await asyncio.sleep(0.05)


async def test_nodes_whose_clocks_are_apart_share_the_link_all_the_same(
    limits: Limits, documents: MemoryDocuments, moment: Time
) -> None:
    (ahead := Time()).now = moment.now + 86_400.0
    other = Limits(lambda: documents, ahead, "node-2", tick_s=0.02)
    await limits.set_link(link())
    async with copying(limits, "run-1", "t1") as here, copying(other, "run-2", "t2") as there:
        await here.until(50 * MBIT)
        await there.until(50 * MBIT)


async def test_what_bounds_a_run_ends_with_it(limits: Limits, documents: MemoryDocuments) -> None:
    for run in ("run-1", "run-2"):
        await limits.set_run(run, RunLimit(rate_bps=MBIT))
    mover = SimpleMover(LocalHost(), SystemClock(), limits=limits)
    for _ in range(2):
        await mover.forget("run-1")
    assert [one.key for one in await documents.list("limit.run", RunLimit)] == ["run-2"]


@pytest.mark.parametrize(
    ("cloud", "good"), [("beta", True), ("beta@south", True), ("beta@", False), ("@south", False)]
)
def test_a_link_may_lead_to_a_partner(cloud: str, good: bool):
    said = {"source": "alpha", "target": cloud, "rate_bps": 1_000_000}
    if good:
        assert codec.from_plain(said, LinkLimit).target == cloud
        return
    with pytest.raises(errors.Invalid) as caught:
        codec.from_plain(said, LinkLimit)
    assert caught.value.field == "target"
