"""A mover for memory disks: the same promises as the real one, in this process and in microseconds.

It is written on its own, on purpose: it shares neither the tree nor the ticket checks with the real mover,
so that each is a check of the other. Both pass ``crossport.testing.conformance.mover``.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from crossport import errors
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.spi.block import BlockReader, BlockWriter
from crossport.spi.clock import Clock
from crossport.testing.memory_disk import MemoryDisks

__all__ = ["CHUNK", "MemoryMover", "slow_root"]

CHUNK = 256 << 10
_YIELD_EVERY = 16  # chunks; other tasks run in between, and a cancellation arrives


def slow_root(chunks: list[bytes]) -> bytes:
    """Return the Merkle root over ``chunks`` exactly as RFC 9162, section 2.1.1 words it."""
    if not chunks:
        return hashlib.sha256().digest()
    if len(chunks) == 1:
        return hashlib.sha256(b"\x00" + chunks[0]).digest()
    split = 1
    while split * 2 < len(chunks):
        split *= 2
    return hashlib.sha256(b"\x01" + slow_root(chunks[:split]) + slow_root(chunks[split:])).digest()


@dataclass(slots=True)
class _Seen:
    """What the mover remembers of one artifact of one run."""

    epoch: int = 0
    task: asyncio.Task[object] | None = None


class MemoryMover:
    """Copies between memory disks. ``pace`` is awaited every few chunks, to slow it down or stop it."""

    def __init__(
        self, disks: MemoryDisks, clock: Clock, pace: Callable[[Progress], Awaitable[None]] | None = None
    ) -> None:
        self._disks = disks
        self._clock = clock
        self._pace = pace
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._nonces: dict[str, tuple[object, ...]] = {}

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy as `crossport.spi.mover.Mover` says."""
        self._admit(read, write)
        seen = self._seen[read.run, read.artifact]
        task = asyncio.ensure_future(self._copy(read, write, report))
        seen.task = task
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            raise errors.Refused("transfer.ticket.superseded", "A ticket of a higher epoch ended this copy.")
        return task.result()

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int = CHUNK, copied: Copied | None = None
    ) -> Digest:
        """Return the Merkle root of what lies in ``ref``."""
        del place, copied  # memory is everywhere, and quickly read
        reader = self._disks.open_reader(ref)
        tree, read = _Tree(), 0
        for number, (start, size, zero) in enumerate(_chunks(reader, ref.size, chunk_size)):
            tree.add_zero(size) if zero else tree.add(_read(reader, start, size))
            read += 0 if zero else size
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        reader.close()
        return Digest(root=tree.root().hex(), read=read)

    async def forget(self, run: str) -> None:
        """Drop what is kept of ``run``: nothing, but for a copy that still runs."""
        for (other, _), seen in self._seen.items():
            if other == run and seen.task is not None:
                seen.task.cancel()

    def _admit(self, read: Ticket, write: Ticket) -> None:
        if read.way is not Way.READ or write.way is not Way.WRITE:
            raise errors.Refused("transfer.ticket.way", "The tickets are for the other way.")
        same = ("tenant", "run", "artifact", "epoch")
        if any(getattr(read, name) != getattr(write, name) for name in same):
            raise errors.Refused("transfer.ticket.foreign", "The two tickets do not belong together.")
        for ticket in (read, write):
            if ticket.expires <= self._clock.wall():
                raise errors.Refused("transfer.ticket.expired", "The ticket has expired.")
            if read.ref.size > ticket.byte_budget:
                raise errors.Refused("transfer.ticket.budget", "The disk is larger than the ticket's budget.")
            used = (ticket.id, read.place, write.place, read.run, read.artifact, read.epoch)
            if self._nonces.setdefault(ticket.nonce, used)[1:] != used[1:]:
                raise errors.Refused("transfer.ticket.replayed", "The ticket was used between other ends.")
        self._take_over(read)
        if write.ref.size < read.ref.size:
            raise errors.Invalid(
                "transfer.target.small",
                f"The target holds {write.ref.size} bytes, the source {read.ref.size}.",
                remedy="Make the target at least as large as the source.",
            )

    def _take_over(self, read: Ticket) -> None:
        seen = self._seen.setdefault((read.run, read.artifact), _Seen())
        if read.epoch < seen.epoch:
            raise errors.Refused("transfer.ticket.old", "A ticket of a higher epoch is in use.")
        seen.epoch = read.epoch
        if seen.task is not None:
            seen.task.cancel()

    async def _copy(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        began = self._clock.monotonic()
        try:
            reader, writer = self._disks.open_reader(read.ref), self._disks.open_writer(write.ref)
        except errors.NotFound as error:
            raise errors.Unavailable(
                "transfer.disk.closed", f"An end cannot be opened. {error.text}"
            ) from error
        tree = _Tree()
        progress = Progress(artifact=read.artifact, size=read.ref.size, done=0)
        try:
            for number, (start, size, zero) in enumerate(_chunks(reader, read.ref.size, CHUNK)):
                progress = _moved_chunk(reader, writer, tree, progress, (start, size, zero))
                if number % _YIELD_EVERY == 0:
                    report(progress)
                    await (self._pace(progress) if self._pace else asyncio.sleep(0))
            writer.flush()
        finally:
            reader.close()
            writer.close()
        report(progress)
        return Moved(
            artifact=read.artifact,
            size=read.ref.size,
            chunk_size=CHUNK,
            root=tree.root().hex(),
            counters=progress.counters,
            seconds=self._clock.monotonic() - began,
        )


def _moved_chunk(
    reader: BlockReader,
    writer: BlockWriter,
    tree: "_Tree",
    progress: Progress,
    chunk: tuple[int, int, bool],
) -> Progress:
    start, size, zero = chunk
    now = progress.counters
    now = replace(now, read=now.read + (0 if zero else size))
    data = b"" if zero else _read(reader, start, size)
    if not any(data):
        tree.add_zero(size)
        if not writer.reads_as_zero:
            writer.zero(start, size)
        return replace(progress, done=start + size, counters=replace(now, zero=now.zero + size))
    tree.add(data)
    writer.write(start, data)
    now = replace(now, sent=now.sent + size, written=now.written + size)
    return replace(progress, done=start + size, counters=now)


def _chunks(reader: BlockReader, size: int, chunk_size: int) -> Iterator[tuple[int, int, bool]]:
    for start in range(0, size, chunk_size):
        length = min(chunk_size, size - start)
        yield start, length, all(extent.zero for extent in reader.extents(start, length))


def _read(reader: BlockReader, start: int, size: int) -> bytes:
    buffer = bytearray(size)
    reader.read_into(start, memoryview(buffer))
    return bytes(buffer)


class _Tree:
    """Leaves only, folded at the end: simple, not small."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._zero_leaves: dict[int, bytes] = {}

    def add_zero(self, size: int) -> None:
        if size not in self._zero_leaves:
            self._zero_leaves[size] = hashlib.sha256(bytes(size + 1)).digest()
        self._leaves.append(self._zero_leaves[size])

    def add(self, chunk: bytes) -> None:
        self._leaves.append(hashlib.sha256(b"\x00" + chunk).digest())

    def root(self) -> bytes:
        return _folded(self._leaves)


def _folded(leaves: list[bytes]) -> bytes:
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _folded(leaves[:split]) + _folded(leaves[split:])).digest()
