"""What is hot and left to the last copy, and that nothing which is owed is ever lost."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import CHUNK, Copy, Marked, root_of

from crossport import errors
from crossport.model.artifact import Extent, Heat
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer.heat import HOT, HOTTEST, MOST, SHARE, HotLast, decided, heat_of, told, with_owed

UNIT = 4096
UNITS = 64
SIZE = UNITS * UNIT - 100


def extents(changed: Iterable[int], size: int = SIZE) -> tuple[Extent, ...]:
    """Return a disk of which these units changed, each only in its middle."""
    found: list[Extent] = []
    at = 0
    for unit in sorted(changed):
        start = unit * UNIT + 10
        found += [Extent(at, start - at, changed=False), Extent(start, 20)]
        at = start + 20
    return (*found, Extent(at, size - at, changed=False))


def after(*copies: set[int]) -> tuple[Heat, ...]:
    heat: tuple[Heat, ...] = ()
    for changed in copies:
        heat = decided(extents(changed), heat, SIZE, unit=UNIT)
    return heat


def units(spans: Iterable[Heat]) -> set[int]:
    return {unit for one in spans for unit in range(one.start // UNIT, -(-(one.start + one.size) // UNIT))}


@pytest.mark.parametrize(
    ("copies", "owed"),
    [
        (({1},), set[int]()),
        (({1}, {1}), {1}),
        (({1, 2}, {1, 3}), {1}),
        (({1}, set[int](), {1}), set[int]()),
        (({1}, {1}, {1}, set[int]()), {1}),  # quiet once: still hot, and still owed
        (({1}, {1}, {1}, set[int](), set[int]()), set[int]()),  # has cooled down: it is sent
        (({1}, {1}, set[int]()), set[int]()),
        (({63}, {63}), {63}),
        (({4, 5, 6}, {4, 5, 6}), {4, 5, 6}),
    ],
)
def test_what_changed_in_most_of_the_last_copies_is_owed(
    copies: tuple[set[int], ...], owed: set[int]
) -> None:
    assert units(with_owed(after(*copies))) == owed


def test_neighbours_are_one_part() -> None:
    assert after({4, 5, 6}, {4, 5, 6}) == (Heat(4 * UNIT, 3 * UNIT, HOT, owed=True),)


def test_a_copy_that_defers_nothing_sends_what_was_owed_and_owes_nothing() -> None:
    disks = MemoryDisks()
    inner = Marked(disks.open_reader(disks.create("a/source", SIZE)), {5})
    reader = HotLast(inner, after({1}, {1}), SIZE, unit=UNIT, defers=False)
    changed = [one.start // UNIT for one in reader.extents(0, SIZE) if one.changed]
    assert (changed, reader.heat) == ([1, 5], ())


def test_where_most_of_the_disk_changed_nothing_is_remembered() -> None:
    lost_mark = (Extent(0, SIZE),)
    former = after({1}, {1})
    assert with_owed(former)
    assert decided(lost_mark, former, SIZE, unit=UNIT) == ()


def test_no_more_than_a_share_of_the_disk_is_owed_the_hottest_first() -> None:
    hotter, hot = {40, 42, 44}, set(range(0, 30, 2))
    owed = units(with_owed(after(hotter, hotter, hotter | hot, hotter | hot)))
    assert hotter <= owed
    assert len(owed) == UNITS // SHARE - 1  # the last unit is not whole


def test_what_is_told_of_a_large_disk_is_small() -> None:
    """A gateway may say 32 KiB at once."""
    size = 2 << 40
    changed = range(size // UNIT - 8 * MOST, size // UNIT, 2)
    heat = decided(extents(changed, size), (), size, unit=UNIT)
    assert len(heat) == MOST
    assert len(json.dumps([astuple(one) for one in heat])) < 16 << 10


changes = st.sets(st.integers(0, UNITS - 1))


@given(st.lists(st.tuples(changes, st.booleans()), max_size=12), st.booleans())
@settings(max_examples=30, deadline=None)
def test_nothing_that_is_owed_is_lost(copies: list[tuple[set[int], bool]], repeats: bool) -> None:
    """The target has each unit as it was at some copy; what is not the newest is owed, until the last one.

    Some copies die when they sent half, and are made again.
    """
    disks, heat = MemoryDisks(), tuple[Heat, ...]()
    newest, target = [0] * UNITS, [0] * UNITS
    inner = disks.open_reader(disks.create("a/source", SIZE))
    for moment, (changed, defers) in enumerate([*copies, (set[int](), False)], 1):
        for unit in changed:
            newest[unit] = moment
        reader = HotLast(Marked(inner, changed), heat, SIZE, unit=UNIT, defers=defers)
        for part in range(2 if repeats else 1, 0, -1):
            for extent in tuple(reader.extents(0, SIZE))[::part]:
                if extent.changed:
                    for unit in range(extent.start // UNIT, -(-(extent.start + extent.size) // UNIT)):
                        target[unit] = newest[unit]
        heat = reader.heat
        stale = {unit for unit in range(UNITS) if target[unit] != newest[unit]}
        assert stale <= units(with_owed(heat))
        assert sum(one.size for one in with_owed(heat)) * SHARE <= SIZE
        assert all(left.start + left.size <= right.start for left, right in itertools.pairwise(heat))
        assert heat_of(json.loads(json.dumps({"heat": reader.told()})), SIZE, defers=defers) == heat
    assert target == newest


@given(changes, changes, st.integers(0, SIZE - 1), st.integers(1, SIZE))
@settings(max_examples=30, deadline=None)
def test_any_range_is_told_as_the_whole_is(first: set[int], second: set[int], start: int, size: int) -> None:
    """Extents cover what was asked for, and say of each byte what they say of it in the whole."""
    spans = after(first, first)
    stop = min(start + size, SIZE)

    def said(begin: int, end: int) -> list[tuple[int, bool]]:
        cut = [
            Extent(
                max(one.start, begin),
                min(one.start + one.size, end) - max(one.start, begin),
                one.zero,
                one.changed,
            )
            for one in extents(second)
            if one.start < end and one.start + one.size > begin
        ]
        found = list(told(cut, spans, changed=True))
        assert found[0].start == begin
        assert all(one.start + one.size == other.start for one, other in itertools.pairwise(found))
        assert found[-1].start + found[-1].size == end
        borders = [one.start for one in found] + [end]
        return [(at, one.changed) for one, at in zip(found, borders, strict=False)]

    whole = said(0, SIZE)

    def at(where: int, of: list[tuple[int, bool]]) -> bool:
        return [changed for begin, changed in of if begin <= where][-1]

    part = said(start, stop)
    assert all(at(where, whole) == changed for where, changed in part)


@pytest.mark.parametrize(
    "said",
    [
        [[0, 0, 1, False]],
        [[-1, 1, 1, False]],
        [[0, 2, 1, False], [1, 1, 1, False]],
        [[0, SIZE + 1, 1, False]],
        [[0, 1, 0, False]],
        [[0, 1, HOTTEST + 1, False]],
        [[0, 1, 1]],
        [["a", 1, 1, False]],
        [[2 * at, 1, 1, False] for at in range(MOST + 1)],
        [None],
        {"a": 1},
        5,
        [[float("inf"), 1, 1, False]],
    ],
)
def test_what_no_worker_tells_is_refused(said: object) -> None:
    with pytest.raises(errors.Broken, match="no sound heat"):
        heat_of({"heat": said}, SIZE, defers=True)


def test_a_worker_that_owes_what_it_may_not_is_refused() -> None:
    said = {"heat": [[0, 1, HOT, True]]}
    assert heat_of(said, SIZE, defers=True) == (Heat(0, 1, HOT, owed=True),)
    with pytest.raises(errors.Broken):
        heat_of(said, SIZE, defers=False)
    assert heat_of({}, SIZE, defers=True) == ()


def test_a_real_copy_leaves_out_what_is_hot_until_the_last_one() -> None:
    """Without it each copy sends the hot chunks; both targets are what the source is in the end."""
    sent = [_sent_by_copies(defers=defers) for defers in (False, True)]
    assert sent[1] == [1 if number in {2, 3, 4} else 4 for number in range(1, 6)]
    assert sent[0] == [4] * 5


def _sent_by_copies(*, defers: bool) -> list[int]:
    """Return how many chunks each of five copies wrote, the last of which leaves nothing out."""
    content = bytearray(noise(UNITS * CHUNK))
    copy, heat, written = Copy(bytes(content)), tuple[Heat, ...](), list[int]()
    inner = copy.reader
    assert copy.run() == (root_of(bytes(content)),) * 2
    for number in range(1, 6):
        changed = {3, 4, 5, 10 + number}
        for chunk in changed:
            content[chunk * CHUNK : (chunk + 1) * CHUNK] = noise(CHUNK, f"{number}-{chunk}")
        copy.change(bytes(content))
        may = defers and number < 5
        reader = HotLast(Marked(inner, changed), heat, len(content), unit=CHUNK, defers=may)
        copy.reader, heat = reader, reader.heat
        sender, receiver = copy.run()
        assert sender == receiver == root_of(copy.target())
        written.append(copy.meters[1].counters.written // CHUNK)
    assert copy.target() == content
    return written
