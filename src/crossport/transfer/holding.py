"""What a receiver holds of a disk: writes, flushes in groups, and the journal, for all its connections."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from crossport import errors, merkle
from crossport.spi.block import BlockWriter
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Run
from crossport.transfer.frame import End, malformed
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.meter import Meter
from crossport.transfer.names import Seal

__all__ = ["FLUSH_GROUP", "Holding", "Told"]

FLUSH_GROUP = 16 << 20
"""Bytes after which a flush begins; it begins a second after the first of them, too, and when asked for."""
_FLUSH_AFTER_S = 1.0


class Told(Protocol):
    """A connection, as far as a flush concerns it."""

    settled: int
    """How many frames of it are written and verified."""

    def durable(self, settled: int) -> None:
        """Tell the peer that so many are durable."""
        ...


@dataclass(slots=True)
class _Group:
    """What waits for a flush."""

    held: list[tuple[Run, bytes]]
    size: int = 0
    since: float = 0.0
    asked: bool = False


class Holding:
    """One target disk with its journal. The lanes of one attempt after the other work with it."""

    def __init__(self, writer: BlockWriter, store: LeafStore, meter: Meter) -> None:
        self.writer = writer
        self.store = store
        self.cut = store.cut
        self._meter = meter
        self._virgin = writer.reads_as_zero
        count = store.cut.count
        self._touched, self._covered, self._kept = Bits(count), Bits(count), Bits(count)
        self._taken = Bits(count)
        self._storing = threading.Lock()
        self._change = threading.Condition()
        self._group = _Group([])
        self._lanes: list[Told] = []
        self._over = False

    def begin(self) -> None:
        """Begin an attempt: nobody is told of flushes yet."""
        with self._change:
            self._lanes, self._over, self._taken = [], False, Bits(self.cut.count)

    def join(self, lane: Told) -> None:
        """Tell ``lane`` of flushes from now on."""
        with self._change:
            self._lanes.append(lane)

    @property
    def covered(self) -> int:
        """How many chunks the sender has settled so far."""
        return self._covered.total()

    def is_held(self, index: int) -> bool:
        """Say whether the journal has a chunk at this moment."""
        return self.store.done[index]

    def leaves(self, first: int, count: int) -> list[bytes | None]:
        """Return the leaves of a range, None for what is not held."""
        with self._storing:
            return self.store.leaves(first, count)

    def release(self, first: int, count: int) -> None:
        """Forget a range that is about to be written anew."""
        with self._storing:
            self.store.release(first, count)

    def take(self, first: int, count: int) -> None:
        """Let a frame have a range; raise Broken when another of this attempt had some of it."""
        with self._change:
            if not self._taken.none_set(first, count):
                raise malformed(f"chunks {first} to {first + count} came twice")
            self._taken.fill(first, count)

    def untaken(self, first: int, count: int) -> int:
        """Return how many chunks from ``first`` on no frame of this attempt had yet."""
        with self._change:
            _, size, taken = next(self._taken.runs(first, count), (first, 0, True))
            return 0 if taken else size

    def write(self, index: int, content: bytes | memoryview) -> None:
        """Write one chunk, which was released."""
        with self._change:
            self._touched.fill(index, 1)
        with self._meter.waits("target"):
            self.writer.write(self.cut.start(index), content)
        self._meter.add(written=len(content))

    def zero(self, first: int, count: int) -> None:
        """Make a range of chunks read as zero, where it does not do so for certain."""
        with self._storing:
            there = list(self.store.not_zero(first, count))
        for start, size in there:
            self._zero_one(start, size)

    def _zero_one(self, first: int, count: int) -> None:
        with self._storing:
            held = any(value for _, _, value in self.store.done.runs(first, count))
        with self._change:
            touched = any(value for _, _, value in self._touched.runs(first, count))
            if not self._virgin or held or touched:
                self._touched.fill(first, count)
        if not self._virgin or held or touched:
            self.release(first, count)
            with self._meter.waits("target"):
                self.writer.zero(self.cut.start(first), self.cut.length(first, count))

    def settle(self, lane: Told, runs: list[tuple[Run, bytes]], counter: str = "", *, size: int = 0) -> None:
        """Record that one more frame of ``lane`` is dealt with: ``runs`` are held once they are flushed.

        ``counter`` counts what they cover for the first time; ``size`` bytes were written.
        """
        with self._change:
            group = self._group
            for run, leaf in runs:
                self._cover(run, counter)
                group.held.append((run, leaf))
            group.size += size
            lane.settled += 1
            if not group.since or group.size >= FLUSH_GROUP:
                group.since = group.since or time.monotonic()
                self._change.notify()

    def keep(self, lane: Told, first: int, count: int) -> None:
        """Record that chunks did not change; raise Broken unless they are held."""
        with self._storing:
            if not self.store.done.all_set(first, count):
                raise malformed(f"chunks {first} to {first + count} did not change, but are not held")
        with self._change:
            self._kept.fill(first, count)
        self.settle(lane, [(Run(first, count, zero=False, changed=False), b"")], "unchanged")

    def ask(self) -> None:
        """Have everything flushed now."""
        with self._change:
            self._group.asked = True
            self._change.notify()

    def flush_until_over(self, failed: Callable[[BaseException], None]) -> None:
        """Flush group by group, in a thread of its own, until `end`; tell ``failed`` what goes wrong."""
        try:
            while self._waited():
                self._flush()
        except BaseException as error:  # noqa: BLE001 - a defect or a full disk: raised by whoever joins the lanes
            failed(error)

    def end(self) -> None:
        """Let `flush_until_over` flush what is left, and end."""
        with self._change:
            self._over = True
            self._change.notify()

    def root(self, end: End) -> bytes:
        """Return the root over all chunks; raise Broken when they are not what the sender says it read."""
        if end.count != self.cut.count or not self._covered.all_set(0, end.count):
            raise malformed(f"the end came after {self.covered} of {self.cut.count} chunks")
        tree, found = merkle.Tree(self.cut.chunk_size), Seal()
        for run, leaves in self.store.runs():
            if run.zero:
                self.cut.add_zeros(tree, run)
                continue
            for index, leaf in enumerate(leaves, run.first):
                if leaf is None:
                    raise errors.Broken(
                        "transfer.journal.damaged",
                        f"The journal lost chunk {index}.",
                        remedy="Resume the run: what was lost is copied again.",
                    )
                tree.add(leaf)
                if not self.store.zero[index] and not self._kept[index]:
                    found.add(index, leaf)
        if found.sealed() != end.seal:
            raise errors.Broken(
                "transfer.root.differs",
                "What arrived is not what was read first: the source changed while it was copied.",
                remedy="Make sure that nothing writes to the source, then copy it again.",
            )
        return tree.root()

    def _cover(self, run: Run, counter: str) -> None:
        for first, count, before in self._covered.runs(run.first, run.count):
            if not before:
                size = self.cut.length(first, count)
                self._meter.add(done=size, **({counter: size} if counter else {}))
        self._covered.fill(run.first, run.count)

    def _waited(self) -> bool:
        """Wait for something to flush; return False when all is flushed and over."""
        with self._change:
            while True:
                group = self._group
                some = bool(group.since) or bool(group.held)
                due = group.since + _FLUSH_AFTER_S - time.monotonic() if some else None
                full = (
                    group.size >= FLUSH_GROUP or group.asked or self._over or (due is not None and due <= 0)
                )
                if some and full:
                    return True
                if self._over:
                    return False
                self._change.wait(due)

    def _flush(self) -> None:
        with self._change:
            group, self._group = self._group, _Group([])
            marks = [(lane, lane.settled) for lane in self._lanes]
        if group.size or any(run.zero for run, _ in group.held):
            with self._meter.waits("flush"):
                self.writer.flush()
        with self._storing:
            self.store.commit([(run, leaf) for run, leaf in group.held if run.changed])
        for lane, settled in marks:
            lane.durable(settled)
