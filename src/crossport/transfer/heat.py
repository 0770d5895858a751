"""Which parts of a disk a copy of changes leaves to the last one: those that change all the time.

What changes in nearly every copy crosses the wire each time, and is stale at once. The heat of a part grows
with each copy in which it changed, and shrinks with each in which it did not; what is hot is left out, and
owed. Nothing that is owed is lost: the next copy tells it as changed, unless that leaves it out and owes it
once more, and a copy that may leave nothing out sends it.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any, TypeVar

from crossport import errors
from crossport.model.artifact import Extent, Heat
from crossport.spi.block import BlockReader
from crossport.spi.wrapped import WrappedReader

__all__ = ["HOT", "HOTTEST", "MOST", "SHARE", "HotLast", "decided", "heat_of", "told", "with_owed"]

T = TypeVar("T")

HOT = 2
"""Changed in so many copies more than it was left alone."""
HOTTEST = HOT + 1
"""What changed for long is still hot after one quiet copy, and no longer after two."""
MOST = 256
"""Parts that are remembered of one disk: it bounds what travels between a worker and its site."""
SHARE = 8
"""No more than one in so many bytes of the disk is owed."""


def decided(extents: Iterable[Extent], former: Sequence[Heat], size: int, *, unit: int) -> tuple[Heat, ...]:
    """Return the heat of a disk of ``size`` bytes after one more copy of what changed.

    ``former`` is that of the copy before. Changes count in whole multiples of ``unit``. What is hot and has
    something to send is owed. When most of the disk changed, or nobody knows what did, nothing is remembered,
    and so nothing is owed.
    """
    best: list[tuple[int, int, int, bool]] = []
    changed = 0
    for start, stop, is_changed, span in _segments(_runs(extents, size, unit), former):
        changed += stop - start if is_changed else 0
        before = span.degree if span else 0
        degree = min(before + 1, HOTTEST) if is_changed else before - 1
        if degree <= 0:
            continue
        to_send = is_changed or (span is not None and span.owed)
        heapq.heappush(best, (degree, stop - start, start, to_send))
        if len(best) > MOST:
            heapq.heappop(best)
    return () if changed * 2 > size else _joined(_owing(best, size // SHARE))


def _owing(parts: list[tuple[int, int, int, bool]], room: int) -> Iterator[Heat]:
    """Owe the hottest and largest as far as there is ``room``."""
    for degree, size, start, to_send in sorted(parts, reverse=True):
        owed = to_send and degree >= HOT and size <= room
        room -= size if owed else 0
        yield Heat(start, size, degree, owed)


def _joined(parts: Iterable[Heat]) -> tuple[Heat, ...]:
    """Return the parts in order, neighbours of the same kind as one."""
    joined: list[Heat] = []
    for part in sorted(parts, key=lambda one: one.start):
        last = joined[-1] if joined else None
        if last and (last.start + last.size, last.degree, last.owed) == (part.start, part.degree, part.owed):
            joined[-1] = replace(last, size=last.size + part.size)
        else:
            joined.append(part)
    return tuple(joined)


def _runs(extents: Iterable[Extent], size: int, unit: int) -> Iterator[tuple[int, int, bool]]:
    """Return the disk as runs that changed or did not, cut at multiples of ``unit``."""
    done = begun = 0  # the run from ``begun`` to ``done`` changed
    for extent in extents:
        if not extent.changed:
            continue
        start = extent.start // unit * unit
        stop = min(-(-(extent.start + extent.size) // unit) * unit, size)
        if start > done:
            if begun < done:
                yield begun, done, True
            yield done, start, False
            begun = start
        done = max(done, stop)
    if begun < done:
        yield begun, done, True
    if done < size:
        yield done, size, False


def told(extents: Iterable[Extent], spans: Sequence[Heat], *, changed: bool) -> Iterator[Extent]:
    """Return ``extents``, but that what lies in ``spans`` is told as ``changed`` or not."""
    whole = ((one.start, one.start + one.size, one) for one in extents)
    for start, stop, extent, span in _segments(whole, spans):
        yield Extent(start, stop - start, extent.zero, changed if span else extent.changed)


def _segments(
    runs: Iterable[tuple[int, int, T]], spans: Sequence[Heat]
) -> Iterator[tuple[int, int, T, Heat | None]]:
    """Cut the runs where spans begin and end; return each piece with the span that it lies in, if any."""
    waiting = deque(spans)
    for first, stop, what in runs:
        start = first
        while start < stop:
            while waiting and waiting[0].start + waiting[0].size <= start:
                waiting.popleft()
            span = waiting[0] if waiting and waiting[0].start <= start else None
            border = stop if not waiting else span.start + span.size if span else waiting[0].start
            end = min(stop, border)
            yield start, end, what, span
            start = end


def with_owed(spans: Iterable[Heat]) -> tuple[Heat, ...]:
    """Return those that are owed."""
    return tuple(one for one in spans if one.owed)


class HotLast(WrappedReader):
    """A disk that tells its hot parts as unchanged, and what the copy before owed as changed.

    ``heat`` is for the next copy: what is owed in it was told as unchanged here, whatever it holds. Without
    ``defers`` there is none, and nothing is looked at beforehand.
    """

    def __init__(
        self, reader: BlockReader, former: Sequence[Heat], size: int, *, unit: int, defers: bool
    ) -> None:
        super().__init__(reader)
        self._owed = with_owed(former)
        self.heat = decided(reader.extents(0, size), former, size, unit=unit) if defers else ()
        self._left_out = with_owed(self.heat)

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """As the disk within, but for what is owed."""
        within = told(super().extents(start, size), self._owed, changed=True)
        return told(within, self._left_out, changed=False)

    def told(self) -> list[tuple[int, int, int, bool]]:
        """Return the heat as a worker tells it."""
        return [astuple(one) for one in self.heat]


def heat_of(said: dict[str, Any], size: int, *, defers: bool) -> tuple[Heat, ...]:
    """Return what `HotLast.told` told of a disk of ``size`` bytes, nothing when the worker is older.

    Raise Broken for what no worker tells: parts beside the disk or over one another, or something owed by a
    copy that defers nothing.
    """
    try:
        spans = tuple(Heat(*map(int, one[:3]), owed=bool(one[3])) for one in said.get("heat", ()))
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise _malformed() from None
    end = 0
    for one in spans:
        if one.start < end or one.size <= 0 or not 0 < one.degree <= HOTTEST:
            raise _malformed()
        end = one.start + one.size
    if end > size or len(spans) > MOST or (with_owed(spans) and not defers):
        raise _malformed()
    return spans


def _malformed() -> errors.Error:
    return errors.Broken(
        "transfer.worker.malformed", "A worker told no sound heat.", remedy=errors.SAME_RELEASE
    )
