"""What a sender has settled and read of a disk, and what that proves: the seal, and its own root.

The receiver tells a root, too, and could tell another disk's. Whoever vouches for what was read at the
source must not take the target's word for it. So the leaves stay where they were read, from one copy of a
disk to the next: the sender then knows what the receiver has of chunks that it need not read again.
"""

import os
import threading
import weakref

from crossport import merkle
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut, Run
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.names import Seal

__all__ = ["Book", "Coverage"]

_AT_ONCE = 256  # leaves that wait in memory until they are written down: of 64 MiB, which a kill costs


class Book:
    """An open file with the leaves of what the receiver has for good, as they were read: 256 MiB for 2 TiB.

    A later copy goes on with what it holds of ``subject``, which is to name the boot of the machine: it is
    never flushed. Without a descriptor it is one in memory.
    """

    def __init__(self, descriptor: int | None = None, subject: dict[str, str] | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("book")
            weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._subject = subject or {}

    def opened(self, cut: Cut) -> LeafStore:
        """Return it as it was left; empty when that was of another subject or size."""
        return LeafStore(self._descriptor, cut, self._subject, durable=False)

    def forget(self) -> None:
        """Make it empty."""
        os.ftruncate(self._descriptor, 0)


class Coverage:
    """What of the disk is settled at the receiver, and what was read for it. Any thread may call it.

    A leaf is in the book only while the receiver certainly has that chunk, if it has it: it is taken out
    before another content may get there, and noted when that is durable.
    """

    def __init__(self, cut: Cut, book: Book, *, trusts: bool = False) -> None:
        """Go on with ``book``. Who ``trusts`` takes the receiver's word for what it holds."""
        self.settled = Bits(cut.count)
        self.trusts = trusts
        self.seal = Seal()
        self._cut = cut
        self._hashed = Bits(cut.count)
        self._book = book  # its file is open as long as it is there
        self._store = book.opened(cut)
        self._under_way = dict[int, bytes]()
        self._noted = list[tuple[Run, bytes]]()
        self._lock = threading.Lock()

    @property
    def known(self) -> Bits:
        """The chunks of which the receiver's content is known here, unless it lies."""
        if not self.trusts:
            return self._store.done
        every = Bits(self._cut.count)
        every.fill(0, every.count)
        return every

    def note(self, index: int, leaf: bytes) -> bool:
        """Take a chunk that was read into the seal; return whether it was read before."""
        with self._lock:
            again = self._hashed[index]
            if not again:
                self._hashed.fill(index, 1)
                self.seal.add(index, leaf)
                if self._store.leaves(index, 1) != [leaf]:
                    self._store.release(index, 1)
                    self._under_way[index] = leaf
            return again

    def note_zeros(self, first: int, count: int) -> None:
        """Take note that a range of chunks is all zeros."""
        with self._lock:
            for start, size in list(self._store.not_zero(first, count)):
                self._store.release(start, size)

    def settle(self, first: int, count: int, *, zero: bool = False) -> None:
        """Record that the receiver has a range for good, as it was read; ``zero``: as zeros."""
        with self._lock:
            self.settled.fill(first, count)
            if zero:
                self._write(Run(first, count, zero=True), b"")
                return
            for index in self._noted_in(first, count):
                self._write(Run(index, 1, zero=False), self._under_way.pop(index))

    def root(self) -> bytes | None:
        """Return the root over what was read for this copy and earlier ones, None when that is not all."""
        self.keep()
        tree = merkle.Tree(self._cut.chunk_size)
        for run, leaves in self._store.runs():
            if run.zero:
                self._cut.add_zeros(tree, run)
                continue
            for leaf in leaves:
                if leaf is None:
                    return None
                tree.add(leaf)
        return tree.root()

    def keep(self) -> None:
        """Write down all that the receiver has for good: a copy that failed is gone on with from there."""
        with self._lock:
            self._store.commit(self._noted)
            self._noted.clear()

    def forget(self) -> None:
        """Forget what was ever read: not even this end knows what the receiver has."""
        self._book.forget()

    def _noted_in(self, first: int, count: int) -> list[int]:
        under_way = self._under_way
        if count <= len(under_way):
            return [index for index in range(first, first + count) if index in under_way]
        return [index for index in under_way if first <= index < first + count]

    def _write(self, run: Run, leaf: bytes) -> None:
        self._noted.append((run, leaf))
        if len(self._noted) >= _AT_ONCE:
            self._store.commit(self._noted)
            self._noted.clear()
