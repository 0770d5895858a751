"""Disks that misbehave on purpose: each wraps another disk and is itself one."""

import threading

from crossport import errors
from crossport.spi.block import BlockReader, BlockWriter
from crossport.spi.wrapped import WrappedReader, WrappedWriter

__all__ = [
    "CutReader",
    "Flicker",
    "FlickeringReader",
    "FlickeringWriter",
    "ForgetfulWriter",
    "FullWriter",
    "TwistedReader",
]


class TwistedReader(WrappedReader):
    """Flips the lowest bit of the byte at ``position``, ``times`` times, then is honest."""

    def __init__(self, reader: BlockReader, position: int, times: int = 1 << 30) -> None:
        super().__init__(reader)
        self._position = position
        self._times = times

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Read, and lie about one bit."""
        super().read_into(start, buffer)
        if start <= self._position < start + len(buffer) and self._times:
            self._times -= 1
            buffer[self._position - start] ^= 1


class CutReader(WrappedReader):
    """Fails with ``error`` for every read that reaches ``end``: a bad sector, or a source that vanished."""

    def __init__(self, reader: BlockReader, end: int, error: errors.Error) -> None:
        super().__init__(reader)
        self._end = end
        self._error = error

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Read what lies before the cut."""
        if start + len(buffer) > self._end:
            raise self._error
        super().read_into(start, buffer)


class FullWriter(WrappedWriter):
    """Has room for ``room`` bytes, then answers like a full file system."""

    def __init__(self, writer: BlockWriter, room: int) -> None:
        super().__init__(writer)
        self._room = room
        self._counting = threading.Lock()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write while there is room."""
        with self._counting:
            self._room -= len(data)
            if self._room < 0:
                raise errors.Conflict(
                    "transfer.target.full",
                    f"Bytes {start} to {start + len(data)} cannot be written (No space left on device).",
                    remedy="Make room where this disk lies.",
                )
        super().write(start, data)


class ForgetfulWriter(WrappedWriter):
    """Keeps writes to itself until ``flush``: ``lose`` drops what was not flushed, like a power cut."""

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self._unflushed: list[tuple[int, bytes | int]] = []
        self._lock = threading.Lock()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Remember; nothing is durable yet."""
        self._check(start, len(data))
        with self._lock:
            self._unflushed.append((start, bytes(data)))

    def zero(self, start: int, size: int) -> None:
        """Remember."""
        self._check(start, size)
        with self._lock:
            self._unflushed.append((start, size))

    def flush(self) -> None:
        """Pass on what was written, in order, and make it durable."""
        with self._lock:
            for start, data in self._unflushed:
                if isinstance(data, int):
                    self._writer.zero(start, data)
                else:
                    self._writer.write(start, data)
            self._unflushed.clear()
        self._writer.flush()

    def _check(self, start: int, size: int) -> None:
        if start < 0 or start + size > self.size:
            raise errors.Invalid("disk.forgetful.beyond_end", "The range is not within the disk.")

    def lose(self) -> None:
        """Drop everything that was not flushed."""
        with self._lock:
            self._unflushed.clear()


class Flicker:
    """The calls at which a disk is away, counted over all its openings, from 1."""

    def __init__(self, *calls: int) -> None:
        self._away = frozenset(calls)
        self._calls = 0
        self._counting = threading.Lock()

    def call(self) -> None:
        """Count a call; raise Unavailable if the disk is away at it."""
        with self._counting:
            self._calls += 1
            away = self._calls in self._away
        if away:
            raise errors.Unavailable("disk.flickers", "The disk is away for a moment.")


class FlickeringReader(WrappedReader):
    """Is away at some reads, and back at the next."""

    def __init__(self, reader: BlockReader, flicker: Flicker) -> None:
        super().__init__(reader)
        self._flicker = flicker

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Read, if it is there."""
        self._flicker.call()
        super().read_into(start, buffer)


class FlickeringWriter(WrappedWriter):
    """Is away at some writes and flushes, and back at the next."""

    def __init__(self, writer: BlockWriter, flicker: Flicker) -> None:
        super().__init__(writer)
        self._flicker = flicker

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write, if it is there."""
        self._flicker.call()
        super().write(start, data)

    def flush(self) -> None:
        """Flush, if it is there."""
        self._flicker.call()
        super().flush()
