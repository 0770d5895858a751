"""Compression that adapts: harder where threads wait for the link, easier where they never do."""

import contextlib
import itertools
import time

import pytest

from crossport.testing.conformance.block import noise
from crossport.transfer.meter import Cause, Meter
from crossport.transfer.pack import LEVELS, Gear, Packer

CHUNK = 256 << 10
TEXT = memoryview((b"the same words, again and again; " * 9000)[:CHUNK])


def levels(cause: Cause | None) -> list[int | None]:
    """Return the levels that are gone through while the time is spent waiting for ``cause``, or at work."""
    meter, seen = Meter(), list[int | None]()
    packer = Packer(meter, threads=1, judge_every_s=0.004)
    for _ in range(40):
        with meter.waits(cause) if cause else contextlib.nullcontext():
            time.sleep(0.005)
        packer.packed(TEXT[:4096])
        if packer.level not in seen:
            seen.append(packer.level)
    return seen


@pytest.mark.parametrize("cause", ["link", "limit"])
def test_a_slow_link_or_a_limit_makes_it_compress_harder(cause: Cause) -> None:
    found = levels(cause)
    assert found[0] in {1, 2, 3, 5}
    assert found[-1] == LEVELS[-1]
    assert found == sorted(found, key=LEVELS.index)


def test_a_fast_link_makes_it_give_up_compression() -> None:
    found = levels(None)
    assert found[-1] is None
    assert found == sorted(found, key=LEVELS.index, reverse=True)


@pytest.mark.parametrize("cause", ["source", "peer"])
def test_it_keeps_to_its_level_while_a_disk_holds_the_copy_up(cause: Cause) -> None:
    assert len(levels(cause)) == 1


def test_what_does_not_compress_goes_as_it_is() -> None:
    packer = Packer(Meter(), threads=1)
    assert packer.packed(memoryview(noise(CHUNK))) is None
    packed = packer.packed(TEXT)
    assert packed is not None
    assert len(packed.payload) < CHUNK // 100


def test_a_chunk_of_which_half_compresses_is_compressed() -> None:
    half = memoryview(noise(CHUNK // 2) + bytes(TEXT[: CHUNK // 2]))
    packed = Packer(Meter(), threads=1).packed(half)
    assert packed is not None
    assert len(packed.payload) < CHUNK * 0.6


def test_a_chunk_of_which_an_eighth_compresses_wherever_it_lies_is_compressed() -> None:
    part = CHUNK // 8
    for place in range(8):
        content = noise(place * part) + bytes(TEXT[:part]) + noise((7 - place) * part)
        assert Packer(Meter(), threads=1).packed(memoryview(content)) is not None, place


def test_a_level_that_was_eased_too_far_is_tried_again_ever_more_seldom() -> None:
    gear, tried = Gear(), list[float]()
    for tick in range(400):
        too_far = gear.place < LEVELS.index(-1)
        gear.judge(0.4 if too_far else 0.0, 0.0, tick / 4)
        if too_far:
            tried.append(tick / 4)
    pauses = [later - sooner for sooner, later in itertools.pairwise(tried)]
    assert len(tried) < 10
    assert pauses == sorted(pauses)
    assert pauses[0] > 1.5


def test_a_link_that_is_waited_for_nearly_all_the_time_hardens_in_large_steps() -> None:
    gear = Gear()
    for tick in range(2):
        gear.judge(0.9, 0.0, tick / 4)
    assert LEVELS[gear.place] == 9


def test_a_link_that_became_much_faster_is_met_within_two_seconds() -> None:
    gear = Gear()
    for tick in range(20):
        gear.judge(0.9, 0.0, tick / 4)
    for tick in range(20, 28):
        gear.judge(0.0, 0.0, tick / 4)
    assert (LEVELS[gear.place] or 0) <= 1


def levels_of_a_copy(
    raw_mb_s: dict[int | None, float], link_mb_s: dict[int | None, float]
) -> list[int | None]:
    """Return the level at each look of a copy that the processor and the link hold to so much of the disk."""
    gear, seen = Gear(), list[int | None]()
    for tick in range(240):
        level = LEVELS[gear.place]
        pace = min(raw_mb_s[level], link_mb_s[level])
        gear.judge(1 - pace / raw_mb_s[level], 0.0, tick / 4, pace)
        seen.append(level)
    return seen


RAW_MB_S = {None: 900.0, -5: 600.0, -1: 400.0, 1: 300.0, 2: 250.0, 3: 180.0, 5: 80.0, 7: 60.0, 9: 30.0}


@pytest.mark.parametrize("link_mb_s", [12, 30, 60, 90, 120, 300])
def test_it_keeps_to_levels_that_get_through_nearly_the_most(link_mb_s: float) -> None:
    packed = {None: 1.0, -5: 0.6, -1: 0.45, 1: 0.36, 2: 0.355, 3: 0.35, 5: 0.32, 7: 0.315, 9: 0.31}
    limits = {level: link_mb_s / share for level, share in packed.items()}
    seen = levels_of_a_copy(RAW_MB_S, limits)[40:]
    reached = [min(RAW_MB_S[level], limits[level]) for level in seen]
    best = max(min(RAW_MB_S[level], limits[level]) for level in LEVELS)
    assert sum(reached) / len(reached) > 0.93 * best


def eased_to(level: int, paces: list[float]) -> Gear:
    """Return a gear that a fast link let come down to ``level``, with such paces at the level before."""
    gear = Gear()
    gear.place = LEVELS.index(level) + 1
    for tick, pace in enumerate(paces):
        gear.judge(0.0, 0.0, tick / 4, pace)
    assert LEVELS[gear.place] == level
    return gear


@pytest.mark.parametrize(
    ("pace", "at", "level"),
    [
        pytest.param(160.0, 1.0, 3, id="more goes through than with the harder level"),
        pytest.param(130.0, 1.0, 5, id="less goes through"),
        pytest.param(160.0, 30.0, 5, id="it is long ago that the harder level was slower"),
    ],
)
def test_what_waits_for_the_link_is_hardened_where_that_loses_nothing(
    pace: float, at: float, level: int
) -> None:
    gear = eased_to(3, [140.0] * 3)
    gear.judge(0.4, 0.0, at, pace)
    assert LEVELS[gear.place] == level


def test_a_link_that_is_waited_for_most_of_the_time_is_hardened_whatever_the_pace() -> None:
    gear = eased_to(3, [140.0] * 3)
    gear.judge(0.7, 0.0, 1.0, 160.0)
    assert (LEVELS[gear.place] or 0) > 5


def test_one_part_of_the_disk_that_packs_quickly_does_not_make_a_level_look_fast() -> None:
    gear = eased_to(3, [140.0, 140.0, 160.0])
    gear.judge(0.4, 0.0, 1.0, 160.0)
    assert LEVELS[gear.place] == 3
