"""What both ends told, as one progress, and what a copy is said to wait for when it stands still."""

import pytest

from crossport.model.artifact import Counters, Progress
from crossport.transfer.meter import Meter
from crossport.transfer.tally import STALLED_S, Tally

SIZE = 1000


class StillClock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def told(done: int = 0, **waits: int) -> dict[str, object]:
    return {**Meter().told(), "done": done, "waits": waits}


@pytest.mark.parametrize(
    ("sender", "receiver", "cause"),
    [
        ({"source": 4000}, {"peer": 4000}, "source"),
        ({"limit": 4000}, {"peer": 4000}, "limit"),
        ({"peer": 4000}, {"target": 4000}, "target"),
        ({"link": 4000}, {"flush": 4000, "peer": 20}, "flush"),
        ({"link": 4000}, {"peer": 4000}, "link"),
        ({"source": 3}, {}, "link"),
    ],
)
def test_the_cause_of_a_stall_is_named(sender: dict[str, int], receiver: dict[str, int], cause: str) -> None:
    clock, seen = StillClock(), list[Progress]()
    tally = Tally("disk-0", SIZE, clock, seen.append)
    tally.from_receiver(told(10))
    clock.now += STALLED_S - 1
    tally.from_sender(told(**sender))
    assert seen[-1].waits_for == ""
    clock.now += 2
    tally.from_receiver(told(10, **receiver))
    assert seen[-1].waits_for == cause
    tally.from_receiver(told(20, **receiver))
    assert seen[-1].waits_for == ""


def test_what_each_end_counts_is_put_together() -> None:
    sent, received = Meter(), Meter()
    sent.add(read=70, sent=50, compressed=40, resent=3)
    received.add(done=100, written=60, zero=30, present=10, sent=5)
    tally = Tally("disk-0", 100, StillClock(), lambda progress: None)
    tally.from_sender(sent.told())
    tally.from_receiver(received.told())
    assert tally.moved(16, "root").counters == Counters(
        read=70, sent=50, compressed=40, resent=3, written=60, zero=30, present=10
    )
