"""What is known of the links between clouds: measured once for many questions, and never an error."""

import asyncio

from crossport import errors
from crossport.migration.link import Links
from crossport.model.artifact import Place, Rate, Way

RATE = Rate(size=1000, seconds=1.0)


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


class CountingProbe:
    """Answers after a moment, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.at_once = 0
        self.failure: Exception | None = None

    async def measure(self, source: Place, target: Place) -> Rate:
        self.asked.append((source.cloud, target.cloud))
        self.at_once += 1
        assert self.at_once == 1, "two measurements measure each other"
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if self.failure:
            raise self.failure
        return RATE


async def place(tenant: str, cloud: str, way: Way) -> Place:
    if cloud == "nowhere":
        raise errors.Unavailable("cloud.gone", "The cloud does not answer.")
    return Place(cloud=f"{cloud}/{way}", subnet="", address="192.0.2.1")


async def test_many_questions_at_once_measure_once_per_pair():
    probe = CountingProbe()
    links = Links(probe, place, StillClock())
    pairs = [("alpha", "beta"), ("beta", "alpha")] * 10
    found = await asyncio.gather(*(links.passage("default", *pair) for pair in pairs))
    assert {passage.rate for passage in found} == {RATE}
    assert probe.asked == [("alpha/read", "beta/write"), ("beta/read", "alpha/write")]


async def test_a_measurement_is_kept_for_ten_minutes_and_tells_its_age():
    probe, clock = CountingProbe(), StillClock()
    links = Links(probe, place, clock)
    await links.passage("default", "alpha", "beta")
    clock.now += 240
    assert (await links.passage("default", "alpha", "beta")).words.startswith("measured 4 min ago: 8 kbit/s")
    assert links.latest("default", "alpha", "beta") == RATE
    clock.now += 400
    assert links.latest("default", "alpha", "beta") is None
    assert (await links.passage("default", "alpha", "beta")).words.startswith("measured now")
    assert len(probe.asked) == 2


async def test_another_tenants_pair_of_the_same_names_is_another_link():
    probe = CountingProbe()
    links = Links(probe, place, StillClock())
    await links.passage("one", "alpha", "beta")
    await links.passage("two", "alpha", "beta")
    assert len(probe.asked) == 2


async def test_a_failure_is_a_reason_for_a_minute_and_no_error():
    probe, clock = CountingProbe(), StillClock()
    probe.failure = errors.Unavailable("transfer.peer.unreachable", "The other end does not answer.")
    links = Links(probe, place, clock)
    for _ in range(3):
        passage = await links.passage("default", "alpha", "beta")
        assert passage.rate is None
        assert passage.words == "not measured (The other end does not answer)"
    assert len(probe.asked) == 1
    probe.failure = None
    clock.now += 61
    assert (await links.passage("default", "alpha", "beta")).rate == RATE


async def test_a_cloud_without_a_seat_and_a_machine_without_tools_are_reasons():
    probe = CountingProbe()
    links = Links(probe, place, StillClock())
    assert "does not answer" in (await links.passage("default", "nowhere", "beta")).why
    probe.failure = PermissionError(13, "Permission denied")
    assert (await links.passage("default", "alpha", "beta")).why == "Permission denied"


async def test_nobody_measures_without_a_probe():
    passage = await Links(None, place, StillClock()).passage("default", "alpha", "beta")
    assert passage.rate is None
    assert not passage.words


async def test_a_link_to_a_partner_is_measured_by_its_name_and_no_cloud_is_asked():
    probe = CountingProbe()
    links = Links(probe, place, StillClock())
    for _ in range(2):
        found = await links.passage("default", "nowhere", "beta@south")
        assert (found.rate, found.ends) == (RATE, None)
    assert probe.asked == [("nowhere", "beta")]
    assert links.latest("default", "nowhere", "beta@south") == RATE
    probe.failure = errors.Unavailable("partner.away", "South does not answer.")
    assert (await links.passage("default", "beta@north", "alpha")).code == "partner.away"
    assert (await Links(None, place, StillClock()).passage("default", "alpha", "beta@south")).rate is None
