"""Cutting a disk into runs of chunks: those that must be read, and those that certainly hold only zeros."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from crossport import errors, merkle
from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader

__all__ = ["Cut", "Run", "batches", "root_of", "runs"]


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` chunks from chunk ``first``.

    ``zero`` when they certainly hold only zeros; not ``changed`` when they are certainly as at the mark.
    """

    first: int
    count: int
    zero: bool
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Cut:
    """How ``size`` bytes lie in chunks; only the last one may be short."""

    size: int
    chunk_size: int = merkle.CHUNK

    @property
    def count(self) -> int:
        """The number of chunks."""
        return -(-self.size // self.chunk_size)

    def start(self, index: int) -> int:
        """Where a chunk begins, or the disk ends."""
        return min(index * self.chunk_size, self.size)

    def length(self, first: int, count: int = 1) -> int:
        """How many bytes ``count`` chunks from ``first`` have."""
        return self.start(first + count) - self.start(first)

    def add_zeros(self, tree: merkle.Tree, run: Run) -> None:
        """Add a run of zero chunks to the tree, the short last one too."""
        short = self.length(run.first, run.count) % self.chunk_size
        tree.add_zeros(run.count - (1 if short else 0))
        if short:
            tree.add(merkle.zero_leaf(short))


def runs(extents: Iterable[Extent], cut: Cut) -> Iterator[Run]:
    """Return the runs that cover all chunks, in order.

    A chunk is zero if zero extents cover all of it, and changed if an extent that changed reaches into it.
    """
    last: Run | None = None
    for piece in _pieces(_checked(extents, cut), cut):
        if last is not None and (last.zero, last.changed) == (piece.zero, piece.changed):
            last = replace(last, count=last.count + piece.count)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _checked(extents: Iterable[Extent], cut: Cut) -> Iterator[Extent]:
    expected = 0
    for extent in extents:
        if extent.start != expected:
            raise errors.Broken(
                "transfer.extent.gap",
                f"The disk does not say what lies at {expected}.",
                remedy="Look whether the disk is whole at the source.",
            )
        expected += extent.size
        if extent.size:
            yield extent
    if expected != cut.size:
        raise errors.Broken(
            "transfer.extent.gap",
            f"The disk does not say what lies at {expected}.",
            remedy="Look whether the disk is whole at the source.",
        )


def _pieces(extents: Iterable[Extent], cut: Cut) -> Iterator[Run]:
    """Return whole chunks extent by extent; one that extents share comes when the last was seen."""
    shared: Run | None = None
    for extent in extents:
        start, end = extent.start, extent.start + extent.size
        if shared is not None:
            zero, changed = shared.zero and extent.zero, shared.changed or extent.changed
            shared = Run(shared.first, 1, zero, changed)
            start = cut.start(shared.first + 1)
            if end < start:
                continue
            yield shared
            shared = None
        first, stop = start // cut.chunk_size, cut.count if end == cut.size else end // cut.chunk_size
        if start < end and stop > first:
            yield Run(first, stop - first, extent.zero, extent.changed)
        if cut.start(stop) < end:
            shared = Run(stop, 1, extent.zero, extent.changed)


def batches(of: Iterable[Run], limit: int) -> Iterator[Run]:
    """Cut the runs that must be read into batches of at most ``limit`` chunks."""
    for run in of:
        if run.zero:
            yield run
            continue
        for first in range(run.first, run.first + run.count, limit):
            yield replace(run, first=first, count=min(limit, run.first + run.count - first))


def root_of(reader: BlockReader, cut: Cut) -> bytes:
    """Read the disk and return its Merkle root. Memory is one chunk."""
    tree = merkle.Tree(cut.chunk_size)
    buffer = memoryview(bytearray(cut.chunk_size))
    for run in runs(reader.extents(0, cut.size), cut):
        if run.zero:
            cut.add_zeros(tree, run)
            continue
        for index in range(run.first, run.first + run.count):
            part = buffer[: cut.length(index)]
            reader.read_into(cut.start(index), part)
            tree.add(merkle.leaf(part))
    return tree.root()
