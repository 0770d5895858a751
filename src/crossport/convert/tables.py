"""Check where an image's tables and blocks lie: inside the file, apart from each other, each used once.

Every format maps the disk through tables of offsets. A crafted one points outside, into its own tables, or
uses one table twice: a tool that follows it reads or writes the wrong place, or turns a few kilobytes into
terabytes of work.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import lt, sub

from crossport.convert.findings import finding
from crossport.convert.reader import Reader
from crossport.model.finding import Finding, Severity
from crossport.units import SECTOR

__all__ = ["ENTRY_BUDGET", "TABLE_BUDGET", "Layout", "numbers", "partial", "sector_table", "stopping"]

# What one inspection reads, so that it takes about a second and less than 64 MiB whatever an image claims.
# Entries of the first table: all of a 2 TiB VHD or a 512 TiB qcow2.
ENTRY_BUDGET = 1 << 20
# Bytes of second-level tables: all of a full qcow2 of 128 GiB.
TABLE_BUDGET = 16 << 20


@dataclass(slots=True)
class Layout:
    """What of a file is taken by metadata. Places may be added, never removed; all checks take bounded
    time."""

    size: int
    ranges: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    sectors: set[int] = field(default_factory=set[int])
    """Starts of the sectors that second-level tables take: too many for ranges."""

    def region(self, start: int, size: int, what: str) -> Iterator[Finding]:
        """Take ``size`` bytes from ``start`` for ``what``; yield what is wrong with that place."""
        if start + size > self.size:
            yield finding("image.table.outside", what=what, start=start, size=self.size)
            return
        over = next((name for first, last, name in self.ranges if start < last and first < start + size), "")
        if over:
            yield finding("image.circular", what=what, where=over)
        self.ranges.append((start, start + size, what))

    def tables(self, starts: list[int], size: int, what: str) -> Iterator[Finding]:
        """Take the second-level tables of ``size`` bytes at ``starts``; yield what is wrong with them.

        Only the tables that `TABLE_BUDGET` lets be read are taken. ``starts`` keeps its order.
        """
        read = starts[: TABLE_BUDGET // size]
        for wrong in self.blocks(starts, size, what):
            # What only shortens data cuts a table off.
            short = wrong.code == "image.tail.short"
            cut = finding("image.truncated", what=what, end=max(starts) + size, size=self.size)
            yield cut if short else wrong
        for start in read:
            self.sectors.update(range(start - start % SECTOR, start + size, SECTOR))

    def blocks(self, starts: Iterable[int], size: int, what: str) -> Iterator[Finding]:
        """Yield what is wrong with blocks of ``size`` bytes that begin at ``starts``, each kind once.

        A block that the file's end cuts is a decision: some writers leave out the rest of the last one.
        Overlaps among these blocks and with the first level of tables are found, and with the second that
        of a block that begins in one.
        """
        ordered = sorted(starts)
        if not ordered:
            return
        if ordered[-1] >= self.size:
            yield finding("image.truncated", what=what, end=ordered[-1] + size, size=self.size)
        elif ordered[-1] + size > self.size:
            yield finding("image.tail.short", what=what, count=ordered[-1] + size - self.size)
        if any(map(lt, map(sub, islice(ordered, 1, None), ordered), repeat(size))):
            yield finding("image.circular", what=what, where="the same place twice")
        elif not self.sectors.isdisjoint(ordered):
            yield finding("image.circular", what=what, where="a table")
        for first, last, name in self.ranges:
            at = bisect_right(ordered, first - size)
            if at < len(ordered) and ordered[at] < last:
                yield finding("image.circular", what=what, where=name)
                return


def stopping(findings: Iterable[Finding]) -> bool:
    """Say whether one of ``findings`` is a blocker, after which further tables need not be read."""
    return any(each.severity is Severity.BLOCKER for each in findings)


def numbers(table: bytes, width: int, order: str) -> "array[int]":
    """Return the entries of a table of unsigned integers of ``width`` (4 or 8) bytes, ``big`` or ``little``
    endian."""
    entries: array[int] = array("I" if width == 4 else "Q")
    entries.frombytes(table)
    if order != sys.byteorder:
        entries.byteswap()
    return entries


def sector_table(reader: Reader, start: int, count: int, what: str) -> "array[int]":
    """Read ``count`` little-endian 32-bit entries from byte ``start``, of a large table the first."""
    return numbers(reader.read_at(start, min(count, ENTRY_BUDGET) * 4, what), 4, "little")


def partial(count: int, width: int) -> Iterator[Finding]:
    """Yield ``image.checks.partial`` if a first table of ``count`` entries is larger than is read."""
    if count > ENTRY_BUDGET:
        yield finding("image.checks.partial", count=ENTRY_BUDGET * width)
