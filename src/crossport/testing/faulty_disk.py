"""Disks that misbehave on purpose: each wraps another disk and is itself one."""

import threading
from collections.abc import Iterator

from crossport import errors
from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader, BlockWriter

__all__ = ["CutReader", "ForgetfulWriter", "FullWriter", "TwistedReader"]


class _Reader:
    """What the faulty readers share: they are the disk within, but for one call."""

    def __init__(self, reader: BlockReader) -> None:
        self.size = reader.size
        self._reader = reader

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """As the disk within."""
        return self._reader.extents(start, size)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within."""
        self._reader.read_into(start, buffer)

    def close(self) -> None:
        """Close the disk within."""
        self._reader.close()


class TwistedReader(_Reader):
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


class CutReader(_Reader):
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


class _Writer:
    """What the faulty writers share."""

    def __init__(self, writer: BlockWriter) -> None:
        self.size = writer.size
        self.reads_as_zero = writer.reads_as_zero
        self._writer = writer

    def write(self, start: int, data: bytes | memoryview) -> None:
        """As the disk within."""
        self._writer.write(start, data)

    def zero(self, start: int, size: int) -> None:
        """As the disk within."""
        self._writer.zero(start, size)

    def flush(self) -> None:
        """As the disk within."""
        self._writer.flush()

    def close(self) -> None:
        """Close the disk within."""
        self._writer.close()


class FullWriter(_Writer):
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


class ForgetfulWriter(_Writer):
    """Keeps writes to itself until ``flush``: ``lose`` drops what was not flushed, like a power cut."""

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self._unflushed: list[tuple[int, bytes | int]] = []
        self._lock = threading.Lock()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Remember; nothing is durable yet."""
        with self._lock:
            self._unflushed.append((start, bytes(data)))

    def zero(self, start: int, size: int) -> None:
        """Remember."""
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

    def lose(self) -> None:
        """Drop everything that was not flushed."""
        with self._lock:
            self._unflushed.clear()
