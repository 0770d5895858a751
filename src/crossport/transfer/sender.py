"""The sending end of a copy: read, hash, compress, send; a few threads prepare, one sends in order."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import zstandard

from crossport import errors
from crossport.spi.block import BlockReader
from crossport.transfer import chunk, frame, merkle
from crossport.transfer.channel import Channel
from crossport.transfer.frame import Data, End, Failed, Frame, Hello, Kind, Welcome
from crossport.transfer.meter import Meter

__all__ = ["Sender"]

THREADS = 2
# 4 chunks are read at once, and 6 such batches are prepared or wait to be sent: 6 MiB and their packed form.
_BATCH = 4
_WINDOW = 6
_BEAT_S = 2.0


_Prepared: TypeAlias = list[Data | chunk.Run]


class Sender:
    """One copy, from the sender's side."""

    def __init__(
        self,
        reader: BlockReader,
        channel: Channel,
        hello: Hello,
        meter: Meter,
        *,
        spoil: Callable[[Data], Data] | None = None,
    ) -> None:
        """Send what ``hello`` says. ``spoil`` is for tests: it may damage a chunk after it was hashed."""
        self._reader = reader
        self._channel = channel
        self._hello = hello
        self._meter = meter
        self._spoil = spoil
        self._cut = chunk.Cut(hello.size, hello.chunk_size)
        self._tree = merkle.Tree(hello.chunk_size)
        self._zero_run = chunk.Run(0, 0, zero=True)
        self._packers = threading.local()
        self._zero_chunk = bytes(hello.chunk_size)

    def run(self) -> bytes:
        """Send the whole disk; return its root when the receiver says that it is durable and verified.

        Raise what the reader raises, Unavailable when the receiver is gone or failed, Broken when it says
        another root or breaks the protocol.
        """
        try:
            self._channel.send(self._hello.encoded())
            Welcome.decoded(self._expect_words(self._channel.receive()))
            with ThreadPoolExecutor(THREADS, "prepare") as pool:
                try:
                    self._send_all(pool)
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
            return self._finish()
        except errors.Error as error:
            raise self._explained(error) from error

    def _send_all(self, pool: ThreadPoolExecutor) -> None:
        window: deque[chunk.Run | Future[_Prepared]] = deque()
        extents = self._reader.extents(0, self._cut.size)
        for run in chunk.batches(chunk.runs(extents, self._cut), _BATCH):
            window.append(run if run.zero else pool.submit(self._prepared, run))
            if len(window) >= _WINDOW:
                self._send_one(window.popleft())
        while window:
            self._send_one(window.popleft())
        self._send_zeros()

    def _send_one(self, item: "chunk.Run | Future[_Prepared]") -> None:
        for part in [item] if isinstance(item, chunk.Run) else self._awaited(item):
            if isinstance(part, chunk.Run):
                self._add_zeros(part)
                continue
            self._send_zeros()
            self._tree.add(part.digest)
            self._send_data(part)
            self._meter.add(done=part.size, compressed=part.size if part.packed else 0)
        while (came := self._channel.poll()) is not None:
            self._hear(came)

    def _awaited(self, future: "Future[_Prepared]") -> _Prepared:
        while True:
            try:
                return future.result(_BEAT_S)
            except TimeoutError:
                self._channel.send(frame.alive())  # the source is slow, this end is not dead

    def _add_zeros(self, run: chunk.Run) -> None:
        self._cut.add_zeros(self._tree, run)
        first = self._zero_run.first if self._zero_run.count else run.first
        self._zero_run = chunk.Run(first, self._zero_run.count + run.count, zero=True)
        self._meter.add(done=self._cut.length(run.first, run.count))

    def _send_zeros(self) -> None:
        if self._zero_run.count:
            self._channel.send(frame.zeros(self._zero_run.first, self._zero_run.count))
            self._zero_run = chunk.Run(0, 0, zero=True)

    def _send_data(self, data: Data) -> None:
        self._channel.send((self._spoil(data) if self._spoil else data).encoded())
        self._meter.sent(self._channel.bytes_sent)

    def _finish(self) -> bytes:
        root = self._tree.root()
        self._channel.send(End(self._cut.count, root).encoded())
        while True:
            came = self._channel.listen(_BEAT_S)
            if came.kind is Kind.DONE:
                if bytes(came.body) != root:
                    raise frame.malformed("DONE with another root")
                self._meter.sent(self._channel.bytes_sent)
                return root
            self._hear(came)

    def _hear(self, came: Frame) -> None:
        match self._expect_words(came).kind:
            case Kind.AGAIN:
                self._send_again(came.count())
            case Kind.DURABLE | Kind.ALIVE:
                pass  # a gateway with a journal will resume from the watermark
            case _:
                raise frame.malformed(f"{came.kind.name} came to the sender")

    def _send_again(self, index: int) -> None:
        if index >= self._cut.count:
            raise frame.malformed("a chunk beyond the end was asked for")
        for part in self._prepared(chunk.Run(index, 1, zero=False)):
            if isinstance(part, Data):
                self._send_data(part)
                self._meter.add(resent=len(part.payload))
            else:
                raise errors.Broken(
                    "transfer.source.changed", f"Chunk {index} of the source changed while it was copied."
                )

    def _expect_words(self, came: Frame) -> Frame:
        if came.kind is Kind.FAILED:
            raise _peer_failed(Failed.decoded(came))
        return came

    def _explained(self, error: errors.Error) -> errors.Error:
        """Return the peer's own words where the link broke because it stopped; else tell it ours."""
        try:
            if error.code.startswith("transfer.peer."):
                words = self._channel.last_words()
                return _peer_failed(words) if words else error
            self._channel.send(Failed(error.code, error.text).encoded())
        except errors.Error:
            return error  # the first failure is the one to tell
        return error

    def _prepared(self, run: chunk.Run) -> _Prepared:
        """Read, look for zeros, hash and compress; in a thread of the pool."""
        start = self._cut.start(run.first)
        buffer = bytearray(self._cut.length(run.first, run.count))
        self._reader.read_into(start, memoryview(buffer))
        self._meter.add(read=len(buffer))
        parts = _Prepared()
        for index in range(run.first, run.first + run.count):
            at, size = self._cut.start(index) - start, self._cut.length(index)
            if self._is_zero(buffer, at, size):
                parts.append(chunk.Run(index, 1, zero=True))
            else:
                parts.append(self._data(index, memoryview(buffer)[at : at + size]))
        return parts

    def _is_zero(self, buffer: bytearray, at: int, size: int) -> bool:
        # Compares without copying, and ends at the first byte that differs.
        return buffer.startswith(self._zero_chunk[:size], at)

    def _data(self, index: int, content: memoryview) -> Data:
        packed = self._packer().compress(content)
        shrinks = len(packed) < len(content) - len(content) // 32
        payload = packed if shrinks else content
        return Data(index, len(content), merkle.leaf(content), shrinks, payload)

    def _packer(self) -> zstandard.ZstdCompressor:
        packer: zstandard.ZstdCompressor | None = getattr(self._packers, "packer", None)
        if packer is None:
            packer = self._packers.packer = zstandard.ZstdCompressor(level=1)
        return packer


def _peer_failed(words: Failed) -> errors.Unavailable:
    return errors.Unavailable("transfer.peer.failed", f"The other end stopped: {words.text} [{words.code}]")
