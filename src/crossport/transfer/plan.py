"""What a sender does with a disk, in which order: first what the target lacks, then what it may hold."""

import threading
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto

from crossport.model.artifact import Extent
from crossport.model.record import record
from crossport.transfer import chunk
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut, Run

__all__ = ["COMPARED_AT_ONCE", "Deed", "Plan", "Task", "tasks"]

READ_AT_ONCE = 4
SENT_AT_ONCE = 16
COMPARED_AT_ONCE = 64
"""Chunks whose names are asked for at a time; so many are released at once when one of them differs."""


class Deed(Enum):
    """What is to be done with a run of chunks."""

    ZERO = auto()
    SEND = auto()
    COMPARE = auto()
    KEEP = auto()


@record(kw_only=False)
class Task:
    """``count`` chunks from ``first``, and what to do with them."""

    deed: Deed
    first: int
    count: int


def tasks(
    extents: Callable[[], Iterable[Extent]], cut: Cut, held: Bits, settled: Bits, known: Bits
) -> Iterator[Task]:
    """Return what is to be done to settle every chunk once; those in ``settled`` are left alone.

    Missing chunks come first, so that new bytes flow at once; ``held`` ones are compared afterwards, and
    those that did not change and are ``known`` are not even read. ``extents`` is called again for the second
    round.
    """
    some = False
    for run in chunk.runs(extents(), cut):
        for first, count in _where(settled, run.first, run.count, value=False):
            if run.zero:
                yield Task(Deed.ZERO, first, count)
                continue
            for start, missing in _where(held, first, count, value=False):
                yield from _cut_up(Deed.SEND, start, missing, SENT_AT_ONCE)
            some = some or any(True for _ in _where(held, first, count, value=True))
    for run in chunk.runs(extents(), cut) if some else ():
        if not run.zero:
            yield from _second(run, held, settled, known)


def _second(run: Run, held: Bits, settled: Bits, known: Bits) -> Iterator[Task]:
    for first, count in _where(settled, run.first, run.count, value=False):
        for start, there in _where(held, first, count, value=True):
            for at, size, kept in [(start, there, False)] if run.changed else known.runs(start, there):
                if kept:
                    yield Task(Deed.KEEP, at, size)
                else:
                    yield from _cut_up(Deed.COMPARE, at, size, COMPARED_AT_ONCE)


def _where(bits: Bits, first: int, count: int, *, value: bool) -> Iterator[tuple[int, int]]:
    for start, size, is_set in bits.runs(first, count):
        if is_set is value:
            yield start, size


def _cut_up(deed: Deed, first: int, count: int, limit: int) -> Iterator[Task]:
    """Cut at multiples of the limit, so that neighbours stay together."""
    stop = first + count
    while first < stop:
        end = min(stop, (first // limit + 1) * limit)
        yield Task(deed, first, end - first)
        first = end


class Plan:
    """Tasks that several threads take from."""

    def __init__(self, of: Iterator[Task]) -> None:
        self.over = False
        self._tasks = of
        self._taking = threading.Lock()

    def next(self) -> Task | None:
        """Return the next task, None when there are no more."""
        with self._taking:
            task = next(self._tasks, None)
            self.over = task is None
            return task
