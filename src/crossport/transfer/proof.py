"""Reading back what a copy has written: only what was not read back since it was written.

A chunk counts as proven when it was read from the disk, by whoever opens that anew, after it was written for
the last time, and was what the journal says. The journal forgets that before the chunk is written once more.
"""

from collections.abc import Iterator

from crossport import merkle
from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader
from crossport.transfer import chunk
from crossport.transfer.chunk import Run
from crossport.transfer.leaf_store import LeafStore

__all__ = ["root_proven"]

_FEW = 16
"""Of how many chunks one may be unproven before it pays to ask where the disk has holes."""


def root_proven(reader: BlockReader, store: LeafStore) -> bytes:
    """Read what is not proven, note what is right, and return the root of the disk as it lies there."""
    reading = _Reading(reader, store)
    for run in reading.runs():
        for first, count, proven in store.proven.runs(run.first, run.count):
            if proven:
                reading.trust(first, count)
            elif run.zero:
                reading.see_zeros(Run(first, count, zero=True))
            else:
                for index in range(first, first + count):
                    reading.read(index)
    store.keep_proven()
    return reading.tree.root()


class _Reading:
    """One way through a disk. ``tree`` has the leaves of the chunks so far."""

    def __init__(self, reader: BlockReader, store: LeafStore) -> None:
        self.tree = merkle.Tree(store.cut.chunk_size)
        self._reader = reader
        self._store = store
        self._cut = store.cut
        self._buffer = memoryview(bytearray(store.cut.chunk_size))

    def runs(self) -> Iterator[Run]:
        """Cover all chunks."""
        cut = self._cut
        few = (cut.count - self._store.proven.total()) * _FEW < cut.count
        extents = [Extent(0, cut.size)] if few else self._reader.extents(0, cut.size)
        return chunk.runs(extents, cut)

    def trust(self, first: int, count: int) -> None:
        """Add chunks that were read back earlier."""
        for start, size, zero in self._store.zero.runs(first, count):
            if zero:
                self._cut.add_zeros(self.tree, Run(start, size, zero=True))
                continue
            for index, leaf in enumerate(self._store.leaves(start, size), start):
                if leaf is None:
                    self.read(index)  # the journal lost it
                else:
                    self.tree.add(leaf)

    def see_zeros(self, run: Run) -> None:
        """Add chunks that the disk says are zeros."""
        self._cut.add_zeros(self.tree, run)
        for first, count, held in self._store.done.runs(run.first, run.count):
            for start, size, zero in self._store.zero.runs(first, count):
                if held and zero:
                    self._store.prove(start, size)

    def read(self, index: int) -> None:
        """Add one chunk as it lies there."""
        part = self._buffer[: self._cut.length(index)]
        self._reader.read_into(self._cut.start(index), part)
        leaf = merkle.leaf(part)
        self.tree.add(leaf)
        if self._store.leaves(index, 1) == [leaf]:
            self._store.prove(index, 1)
