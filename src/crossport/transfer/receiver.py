"""The receiving end of a copy: nothing is written that was not verified, nothing acknowledged that is not
durable.

One thread takes frames in; a few unpack, verify and write; one flushes. The order of chunks is kept for the
tree, not for the writes.
"""

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import zstandard

from crossport import errors
from crossport.spi.block import BlockWriter
from crossport.transfer import chunk, frame, merkle
from crossport.transfer.channel import Channel
from crossport.transfer.frame import Data, End, Failed, Frame, Hello, Kind, Welcome
from crossport.transfer.meter import Meter

__all__ = ["Receiver"]

THREADS = 2
FLUSH_GROUP = 64 << 20
# Chunks that are in memory at a time; with their unpacked form at most 16 MiB.
_WINDOW = 32
# Chunks may pile up behind one that was asked for again: as many as fit the network's buffers.
_MAX_PENDING = 1 << 16
_BEAT_S = 2.0


@dataclass(slots=True)
class _Slot:
    """A chunk or a run of zeros on its way; ``work`` is None while the chunk is awaited anew."""

    run: chunk.Run
    work: "Future[bytes | None] | None"


class Receiver:
    """One copy, from the receiver's side."""

    def __init__(
        self,
        writer: BlockWriter,
        channel: Channel,
        expected: Hello,
        meter: Meter,
        *,
        damage_limit: int = 3,
    ) -> None:
        """Receive what ``expected`` says; give up when more than ``damage_limit`` chunks arrive damaged."""
        self._writer = writer
        self._channel = channel
        self._expected = expected
        self._meter = meter
        self._damage_limit = damage_limit
        self._cut = chunk.Cut(expected.size, expected.chunk_size)
        self._tree = merkle.Tree(expected.chunk_size)
        self._slots: deque[_Slot] = deque()
        self._room = threading.Semaphore(_WINDOW)
        self._next = 0
        self._settled = 0
        self._unflushed = 0
        self._flush: Future[int] | None = None
        self._damaged = 0
        self._unpackers = threading.local()

    def run(self) -> bytes:
        """Receive the whole disk; return its root when it is durable and verified.

        Raise what the writer raises, Refused when the sender brings something else than was agreed,
        Unavailable when it is gone, Broken when too many chunks were damaged or it breaks the protocol.
        """
        try:
            self._agree()
            with ThreadPoolExecutor(THREADS, "write") as pool, ThreadPoolExecutor(1, "flush") as flusher:
                try:
                    return self._receive_all(pool, flusher)
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        except errors.Error as error:
            self._tell(error)
            raise

    def _agree(self) -> None:
        hello = Hello.decoded(self._heard(self._channel.receive()))
        if hello != self._expected:
            raise errors.Refused(
                "transfer.peer.foreign",
                "The other end brings another disk, run or epoch than this end was made for.",
                remedy="Start the copy again with tickets that belong together.",
            )
        if self._writer.size < hello.size:
            raise errors.Invalid(
                "transfer.target.small",
                f"The target holds {self._writer.size} bytes, the source {hello.size}.",
                remedy="Make the target at least as large as the source.",
            )
        self._channel.send(Welcome().encoded())

    def _receive_all(self, pool: ThreadPoolExecutor, flusher: ThreadPoolExecutor) -> bytes:
        while True:
            came = self._heard(self._channel.receive())
            match came.kind:
                case Kind.DATA:
                    self._take_data(Data.decoded(came), pool)
                case Kind.ZEROS:
                    self._take_zeros(came, pool)
                case Kind.END:
                    return self._finish(End.decoded(came), pool, flusher)
                case Kind.ALIVE:
                    pass
                case _:
                    raise frame.malformed(f"{came.kind.name} came to the receiver")
            self._settle()
            self._flush_group(flusher)

    def _take_data(self, data: Data, pool: ThreadPoolExecutor) -> None:
        again = self._slots[0] if self._slots and self._slots[0].work is None else None
        in_order = data.index == self._next < self._cut.count
        if not in_order and (again is None or again.run.first != data.index):
            raise frame.malformed(f"chunk {data.index} came in place of {self._next}")
        if data.size != self._cut.length(data.index):
            raise frame.malformed(f"chunk {data.index} has {data.size} bytes")
        self._wait_for_room()
        work = pool.submit(self._verified, data)
        if again is not None and not in_order:
            again.work = work
            return
        self._push(_Slot(chunk.Run(data.index, 1, zero=False), work))

    def _take_zeros(self, came: Frame, pool: ThreadPoolExecutor) -> None:
        first, count = came.zeros()
        if first != self._next or not 0 < count <= self._cut.count - first:
            raise frame.malformed(f"zeros at chunk {first} came in place of {self._next}")
        self._wait_for_room()
        run = chunk.Run(first, count, zero=True)
        self._push(_Slot(run, pool.submit(self._zeroed, run)))

    def _push(self, slot: _Slot) -> None:
        if len(self._slots) >= _MAX_PENDING:
            raise frame.malformed("a damaged chunk was not sent again")
        self._slots.append(slot)
        self._next += slot.run.count

    def _wait_for_room(self) -> None:
        while not self._room.acquire(timeout=_BEAT_S):
            self._channel.send(frame.alive())  # the target is slow, this end is not dead

    def _settle(self) -> None:
        """Add to the tree what is written, in order; ask again for what was damaged."""
        while self._slots and (work := self._slots[0].work) is not None and work.done():
            slot, digest = self._slots[0], work.result()
            if digest is None:
                self._ask_again(slot)
                return
            self._slots.popleft()
            size = self._cut.length(slot.run.first, slot.run.count)
            if slot.run.zero:
                self._cut.add_zeros(self._tree, slot.run)
            else:
                self._tree.add(digest)
                self._unflushed += size
            self._settled = slot.run.first + slot.run.count
            self._meter.add(done=size, zero=size if slot.run.zero else 0)

    def _ask_again(self, slot: _Slot) -> None:
        self._damaged += 1
        if self._damaged > self._damage_limit:
            raise errors.Broken(
                "transfer.chunk.damaged",
                f"{self._damaged} chunks arrived damaged, the last was chunk {slot.run.first}.",
                remedy="Check the memory and the storage of the machine that sends.",
            )
        slot.work = None
        self._channel.send(frame.counted(Kind.AGAIN, slot.run.first))

    def _flush_group(self, flusher: ThreadPoolExecutor) -> None:
        if self._flush is not None and self._flush.done():
            durable, self._flush = self._flush.result(), None
            self._channel.send(frame.counted(Kind.DURABLE, durable))
        if self._flush is None and self._unflushed >= FLUSH_GROUP:
            self._unflushed = 0
            self._flush = flusher.submit(self._flushed, self._settled)

    def _finish(self, end: End, pool: ThreadPoolExecutor, flusher: ThreadPoolExecutor) -> bytes:
        if end.count != self._cut.count or self._next != end.count:
            raise frame.malformed(f"the end came after {self._next} of {self._cut.count} chunks")
        while self._slots:
            work = self._slots[0].work
            if work is None:
                came = self._heard(self._channel.listen(_BEAT_S))
                if came.kind is Kind.DATA:
                    self._take_data(Data.decoded(came), pool)
            else:
                self._await(work)
                self._settle()
        self._await(flusher.submit(self._flushed, self._settled))
        root = self._tree.root()
        if root != end.root:
            raise errors.Broken(
                "transfer.root.differs",
                "What arrived is not what was read first: the source changed while it was copied.",
                remedy="Make sure that nothing writes to the source, then copy it again.",
            )
        self._channel.send(frame.counted(Kind.DURABLE, end.count))
        self._channel.send(frame.done(root))
        return root

    def _await(self, work: "Future[bytes | None] | Future[int]") -> None:
        while not work.done():
            try:
                work.result(_BEAT_S)
            except TimeoutError:
                self._channel.send(frame.alive())
        work.result()

    def _heard(self, came: Frame) -> Frame:
        if came.kind is Kind.FAILED:
            words = Failed.decoded(came)
            raise errors.Unavailable(
                "transfer.peer.failed", f"The other end stopped: {words.text} [{words.code}]"
            )
        return came

    def _tell(self, error: errors.Error) -> None:
        if not error.code.startswith("transfer.peer.failed"):
            try:
                self._channel.send(Failed(error.code, error.text).encoded())
            except errors.Error:
                return  # it is gone, or it will see the connection close

    def _verified(self, data: Data) -> bytes | None:
        """Unpack, verify and write one chunk; None when it is damaged. In a thread of the pool."""
        try:
            content = self._unpacked(data)
            if content is None or merkle.leaf(content) != data.digest:
                return None
            self._writer.write(self._cut.start(data.index), content)
            self._meter.add(written=data.size)
            return data.digest
        finally:
            self._room.release()

    def _unpacked(self, data: Data) -> bytes | memoryview | None:
        if not data.packed:
            return memoryview(data.payload) if len(data.payload) == data.size else None
        unpacker: zstandard.ZstdDecompressor | None = getattr(self._unpackers, "unpacker", None)
        if unpacker is None:
            unpacker = self._unpackers.unpacker = zstandard.ZstdDecompressor()
        try:
            # The size is inside, too, and would be allocated: it is looked at first.
            if zstandard.frame_content_size(data.payload) != data.size:
                return None
            return unpacker.decompress(data.payload, allow_extra_data=False)
        except zstandard.ZstdError:
            return None

    def _zeroed(self, run: chunk.Run) -> bytes | None:
        try:
            if not self._writer.reads_as_zero:
                self._writer.zero(self._cut.start(run.first), self._cut.length(run.first, run.count))
            return b""
        finally:
            self._room.release()

    def _flushed(self, settled: int) -> int:
        self._writer.flush()
        return settled
