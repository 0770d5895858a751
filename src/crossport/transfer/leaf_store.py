"""What a target holds, chunk by chunk, in a file that survives the worker: the journal of a copy.

The file begins with a header of 4 KiB, a JSON object that says whose it is. Then come three bitmaps, a bit
for each chunk, the low bit first: ``done`` (the chunk is durable at the target), ``zero`` (it is all zeros),
``proven`` (since it was written it was read back, and was right); then a leaf of 32 bytes for each chunk. A
leaf is written after its chunk was flushed. Before a chunk that is held is written anew its bits are cleared
and its leaf wiped, and that is flushed: at no moment does the file claim what the target may not hold.
"""

import fcntl
import itertools
import json
import os
from collections.abc import Iterable, Iterator

from crossport import errors, merkle
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut, Run

__all__ = ["LEAF", "LeafStore", "size_for"]

LEAF = 32
VERSION = 2
_HEADER = 4096
_WIPED = bytes(LEAF)
_SPAN = 4096  # leaves that are read at once


def size_for(cut: Cut) -> int:
    """Return how large the journal of such a disk is."""
    return _HEADER + 3 * -(-cut.count // 8) + cut.count * LEAF


class LeafStore:
    """The journal of one artifact's copy, in an open file. Not thread-safe. The caller closes the file."""

    def __init__(self, descriptor: int, cut: Cut, subject: dict[str, str], *, durable: bool = True) -> None:
        """Go on with what the file holds of ``subject``; begin anew when it is another's or of another size.

        Raise Conflict when another worker has it open. One that is not ``durable`` is never flushed: nobody
        will read it after this process.
        """
        self.cut = cut
        self._durable = durable
        self._descriptor = descriptor
        self._zero_leaf = merkle.zero_leaf(cut.chunk_size)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.Conflict(
                "transfer.journal.busy",
                "Another worker still writes this disk.",
                remedy="Try again: the engine ends the older one.",
            ) from error
        header = json.dumps({"version": VERSION, "size": cut.size, "chunk_size": cut.chunk_size, **subject})
        self._size = -(-cut.count // 8)
        if os.pread(descriptor, _HEADER, 0).rstrip(b"\0") != header.encode():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, header.encode(), 0)
            os.ftruncate(descriptor, size_for(cut))
            self._sync()
        self.done = Bits(cut.count, os.pread(descriptor, self._size, _HEADER))
        self.zero = Bits(cut.count, os.pread(descriptor, self._size, _HEADER + self._size))
        self.proven = Bits(
            cut.count, _and(self.done.raw, os.pread(descriptor, self._size, _HEADER + 2 * self._size))
        )

    def leaves(self, first: int, count: int) -> list[bytes | None]:
        """Return the leaves of a range, None for chunks that are not held."""
        if self.done.none_set(first, count):
            return [None] * count
        raw = os.pread(self._descriptor, count * LEAF, self._place(first))
        found: list[bytes | None] = []
        for number in range(count):
            leaf: bytes | None = raw[number * LEAF : (number + 1) * LEAF]
            if not self.done[first + number]:
                leaf = None
            elif self.zero[first + number]:
                leaf = self._leaf_of_zeros(first + number)
            elif leaf == _WIPED:
                leaf = None
            found.append(leaf)
        return found

    def commit(self, held: Iterable[tuple[Run, bytes]]) -> None:
        """Record chunks that are durable now: runs of zeros, and single chunks with their leaf."""
        touched, leaves = list[Run](), dict[int, bytes]()
        for run, leaf in held:
            touched.append(run)
            self.zero.fill(run.first, run.count, value=run.zero)
            self.done.fill(run.first, run.count)
            self.proven.fill(run.first, run.count, value=False)
            if not run.zero:
                leaves[run.first] = leaf
        self._write_leaves(leaves)
        self._write_bits(touched)

    def release(self, first: int, count: int) -> None:
        """Forget a range durably, because it is about to be written anew; free where nothing is held."""
        if self.done.none_set(first, count):
            return
        held = [(start, size) for start, size, there in self.done.runs(first, count) if there]
        for start, size in held:
            self.done.fill(start, size, value=False)
            self.proven.fill(start, size, value=False)
            for at in range(start, start + size, _SPAN):
                wiped = bytes(min(_SPAN, start + size - at) * LEAF)
                os.pwrite(self._descriptor, wiped, self._place(at))
        if held:
            self._write_bits([Run(start, size, zero=False) for start, size in held])

    def prove(self, first: int, count: int) -> None:
        """Note that chunks that are held were read back and are right; `keep_proven` makes that durable."""
        self.proven.fill(first, count)

    def keep_proven(self) -> None:
        """Write down what was proven."""
        os.pwrite(self._descriptor, self.proven.raw, _HEADER + 2 * self._size)
        self._sync()

    def not_zero(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Return what of a range is not held as zeros."""
        for start, size, held in self.done.runs(first, count):
            if not held:
                yield start, size
                continue
            for at, length, zero in self.zero.runs(start, size):
                if not zero:
                    yield at, length

    def runs(self) -> Iterator[tuple[Run, list[bytes | None]]]:
        """Cover all chunks in order: runs of held zeros, and others in spans with their leaves."""
        for first, count, zeros in _both(self.done, self.zero):
            if zeros:
                yield Run(first, count, zero=True), []
                continue
            for start in range(first, first + count, _SPAN):
                size = min(_SPAN, first + count - start)
                yield Run(start, size, zero=False), self.leaves(start, size)

    def _place(self, index: int) -> int:
        return _HEADER + 3 * self._size + index * LEAF

    def _leaf_of_zeros(self, index: int) -> bytes:
        size = self.cut.length(index)
        return self._zero_leaf if size == self.cut.chunk_size else merkle.zero_leaf(size)

    def _write_leaves(self, leaves: dict[int, bytes]) -> None:
        """Write leaves, those of neighbours at once."""
        for _, group in itertools.groupby(
            enumerate(sorted(leaves)), lambda numbered: numbered[1] - numbered[0]
        ):
            indexes = [index for _, index in group]
            os.pwrite(self._descriptor, b"".join(leaves[index] for index in indexes), self._place(indexes[0]))

    def _write_bits(self, touched: list[Run]) -> None:
        for first, stop in _merged(touched):
            for number, bits in ((2, self.proven), (1, self.zero), (0, self.done)):
                os.pwrite(self._descriptor, bits.raw[first:stop], _HEADER + number * self._size + first)
        self._sync()

    def _sync(self) -> None:
        if self._durable:
            os.fdatasync(self._descriptor)


def _both(done: Bits, zero: Bits) -> Iterator[tuple[int, int, bool]]:
    return Bits(done.count, _and(done.raw, zero.raw)).runs(0, done.count)


def _and(one: bytes | bytearray, other: bytes | bytearray) -> bytes:
    return (int.from_bytes(one) & int.from_bytes(other)).to_bytes(len(one))


def _merged(touched: list[Run]) -> Iterator[tuple[int, int]]:
    """Return the ranges of bitmap bytes that belong to the runs, each once."""
    spans = sorted((run.first >> 3, (run.first + run.count + 7) >> 3) for run in touched)
    while spans:
        first, stop = spans.pop(0)
        while spans and spans[0][0] <= stop:
            stop = max(stop, spans.pop(0)[1])
        yield first, stop
