"""The throttle: a rate is kept over any second, another holds at once. Time is moved by the test."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer.throttle import Throttle
from crossport.transfer.wrapper import ThrottledReader, ThrottledWriter
from crossport.units import KIB, MIB

MBIT = 1e6


class Time:
    """Monotonic seconds that pass only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        del changed
        self.now += max(seconds, 1e-9)


def throttle(moment: Time, rate_bps: float | None) -> Throttle:
    return Throttle(moment, rate_bps, wait=moment.wait)


def passed(bound: Throttle, moment: Time, seconds: float, piece: int) -> int:
    """Take pieces for so long; return how much passed."""
    size, ends = 0, moment.now + seconds
    while moment.now < ends:
        bound.take(piece)
        size += piece
    return size


@pytest.mark.parametrize("piece", [4 * KIB, 256 * KIB, 4 * MIB], ids=["small", "chunk", "large"])
@pytest.mark.parametrize("rate_bps", [10 * MBIT, 100 * MBIT, 1000 * MBIT], ids=["10M", "100M", "1G"])
def test_the_rate_is_kept(rate_bps: float, piece: int) -> None:
    moment = Time()
    size, took_s = passed(throttle(moment, rate_bps), moment, 4, piece), moment.now - 1000.0
    assert rate_bps * 4 / 8 <= size <= rate_bps * (took_s + 0.1) / 8 + piece


def test_without_a_rate_nobody_waits() -> None:
    moment = Time()
    bound = throttle(moment, None)
    for _ in range(100):
        assert bound.take(MIB)
    assert moment.now == 1000.0


@pytest.mark.parametrize("new_bps", [100 * MBIT, 1000 * MBIT, 10 * MBIT], ids=["up", "far-up", "down"])
def test_nine_tenths_of_a_new_rate_pass_within_the_next_two_seconds(new_bps: float) -> None:
    moment = Time()
    bound = throttle(moment, 50 * MBIT)
    passed(bound, moment, 5, 256 * KIB)
    bound.rate(new_bps)
    size = passed(bound, moment, 2, 256 * KIB)
    assert 0.9 * new_bps * 2 / 8 <= size <= 1.1 * new_bps * 2 / 8 + 256 * KIB


def test_a_debt_of_a_high_rate_is_no_long_silence_at_a_low_one() -> None:
    moment = Time()
    bound = throttle(moment, 10_000 * MBIT)
    bound.take(64 * MIB)
    bound.rate(MBIT)
    began = moment.now
    bound.take(1)
    assert moment.now - began <= 0.11


def test_who_was_idle_gets_no_more_than_a_tenth_of_a_second_at_once() -> None:
    moment = Time()
    bound = throttle(moment, 80 * MBIT)
    moment.now += 3600
    size = passed(bound, moment, 1e-6, KIB)
    assert size <= 10 * MBIT * 0.1 + 2 * KIB


def test_patience_ends_without_anything_taken() -> None:
    moment = Time()
    bound = throttle(moment, MBIT)
    assert bound.take(MIB)
    assert not bound.take(MIB, patience_s=2.0)
    assert moment.now == pytest.approx(1002.0)
    assert bound.take(0, patience_s=7.0)


def test_those_that_wait_hear_of_a_new_rate_at_once() -> None:
    bound = Throttle(time.monotonic, 1000.0)
    bound.take(MIB)
    waiting = threading.Thread(target=bound.take, args=(1,))
    waiting.start()
    bound.rate(None)
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.mark.parametrize("rate_bps", [0.0, -1.0, float("nan")], ids=str)
def test_a_rate_that_lets_nothing_pass_is_a_mistake(rate_bps: float) -> None:
    with pytest.raises(ValueError, match="lets nothing pass"):
        Throttle(time.monotonic).rate(rate_bps)


@given(
    st.lists(
        st.tuples(st.floats(1e5, 1e10), st.lists(st.integers(0, MIB), min_size=1, max_size=20)), max_size=8
    )
)
def test_never_more_passes_than_every_rate_in_its_time_allows(
    stages: list[tuple[float, list[int]]],
) -> None:
    moment = Time()
    bound = throttle(moment, MBIT)
    for rate_bps, sizes in stages:
        bound.rate(rate_bps)
        began = moment.now
        for size in sizes:
            bound.take(size)
        allowed = (moment.now - began + 0.1) * rate_bps / 8
        assert sum(sizes) <= allowed + sizes[-1] + 1e-3 * sum(sizes) + 1


def test_a_throttled_disk_is_as_slow_as_its_throttle() -> None:
    disks, moment = MemoryDisks(), Time()
    ref = disks.create("alpha/disk", 4 * MIB)
    bound = throttle(moment, 8 * MIB)
    reader, writer = (
        ThrottledReader(disks.open_reader(ref), bound),
        ThrottledWriter(disks.open_writer(ref), bound),
    )
    for start in range(0, 4 * MIB, MIB):
        reader.read_into(start, memoryview(bytearray(MIB)))
        writer.write(start, bytes(MIB))
    assert 6.9 <= moment.now - 1000.0 <= 8.1
