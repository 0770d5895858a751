"""Disks that are opened again when they were away for a moment.

Only Unavailable is tried again, and not for ever.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from crossport import errors
from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader, BlockWriter
from crossport.transfer.bounds import closed_disk

__all__ = ["Patience", "RetryingReader", "RetryingWriter"]

T = TypeVar("T")
D = TypeVar("D", BlockReader, BlockWriter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a call is made in all, and how long is waited before the second; twice as long each time."""

    attempts: int = 4
    first_s: float = 0.5
    most_s: float = 10.0

    def pauses(self) -> Iterator[float]:
        """Yield the wait before each further attempt."""
        for attempt in range(self.attempts - 1):
            yield min(self.first_s * 2**attempt, self.most_s)


class RetryingReader:
    """Opens its disk again when that is away for a moment; any other error, and the last one, gets out.

    ``open_disk`` opens it; a size that is another then is Broken.
    """

    def __init__(
        self,
        open_disk: Callable[[], BlockReader],
        *,
        sleep: Callable[[float], None],
        patience: Patience | None = None,
    ) -> None:
        self._again = _Again[BlockReader](open_disk, sleep, patience or Patience())
        self.size = self._again.call(lambda reader: reader.size)

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """As the disk within. After a break it goes on behind what was told already."""
        end = start + size
        while True:
            at = start

            def following(reader: BlockReader, at: int = at) -> tuple[Iterator[Extent], Extent | None]:
                rest = reader.extents(at, end - at)
                return rest, next(rest, None)

            rest, extent = self._again.call(following)
            try:
                while extent is not None:
                    yield extent
                    start = extent.start + extent.size
                    extent = next(rest, None)
            except errors.Unavailable:
                if self._again.closed:
                    raise
            else:
                return

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within."""
        self._again.call(lambda reader: reader.read_into(start, buffer))

    def close(self) -> None:
        """Close the disk within, for good."""
        self._again.close()


class RetryingWriter:
    """Opens its disk again when that is away for a moment, and writes again what was not flushed.

    Between two flushes it keeps what it was given, at most ``keep`` bytes: it flushes when that is reached,
    so that a server that lost what it had not flushed loses nothing.
    """

    def __init__(
        self,
        open_disk: Callable[[], BlockWriter],
        *,
        sleep: Callable[[float], None],
        patience: Patience | None = None,
        keep: int = 32 << 20,
    ) -> None:
        self._keep = keep
        self._kept = 0
        self._unflushed: list[tuple[int, bytes | int]] = []
        self._ordering = threading.RLock()
        self._again = _Again[BlockWriter](open_disk, sleep, patience or Patience(), self._repeat)
        self.size, self.reads_as_zero = self._again.call(lambda writer: (writer.size, writer.reads_as_zero))

    def write(self, start: int, data: bytes | memoryview) -> None:
        """As the disk within."""
        with self._ordering:
            self._again.call(lambda writer: writer.write(start, data))
            self._unflushed.append((start, bytes(data)))
            self._kept += len(data)
            if self._kept >= self._keep:
                self.flush()

    def zero(self, start: int, size: int) -> None:
        """As the disk within."""
        with self._ordering:
            self._again.call(lambda writer: writer.zero(start, size))
            self._unflushed.append((start, size))

    def flush(self) -> None:
        """As the disk within."""
        with self._ordering:
            self._again.call(lambda writer: writer.flush())
            self._unflushed.clear()
            self._kept = 0

    def close(self) -> None:
        """Close the disk within, for good."""
        self._again.close()

    def _repeat(self, writer: BlockWriter) -> None:
        for start, data in self._unflushed:
            if isinstance(data, int):
                writer.zero(start, data)
            else:
                writer.write(start, data)


class _Again(Generic[D]):
    """One disk, opened when it is needed; ``restore`` brings a disk that was opened again to where it was."""

    def __init__(
        self,
        open_disk: Callable[[], D],
        sleep: Callable[[float], None],
        patience: Patience,
        restore: Callable[[D], None] | None = None,
    ) -> None:
        self._open = open_disk
        self._sleep = sleep
        self._patience = patience
        self._restore = restore
        self._opening = threading.Lock()
        self._disk: D | None = None
        self._size: int | None = None
        self._closed = False

    def call(self, do: Callable[[D], T]) -> T:
        """Return what ``do`` answers; raise what it raises at last."""
        pauses = self._patience.pauses()
        while True:
            disk: D | None = None
            try:
                disk = self._current()
                return do(disk)
            except errors.Unavailable:
                pause = next(pauses, None)
                if self._closed or pause is None:
                    raise
                self._drop(disk)
                self._sleep(pause)

    @property
    def closed(self) -> bool:
        """Whether it was closed for good."""
        return self._closed

    def close(self) -> None:
        """Close the disk; it is not opened again."""
        self._closed = True
        if self._disk is not None:
            self._disk.close()

    def _current(self) -> D:
        with self._opening:
            if self._closed:
                raise closed_disk()
            if self._disk is None:
                self._disk = self._opened()
            return self._disk

    def _opened(self) -> D:
        disk = self._open()
        try:
            if self._size not in (None, disk.size):
                raise errors.Broken(
                    "transfer.disk.resized",
                    f"The disk had {self._size} bytes and has {disk.size} now.",
                    remedy="Begin a new run: the disk changed its size.",
                )
            if self._size is not None and self._restore is not None:
                self._restore(disk)
        except errors.Error:
            disk.close()
            raise
        self._size = disk.size
        return disk

    def _drop(self, disk: D | None) -> None:
        with self._opening:
            if disk is not None and self._disk is disk:
                self._disk = None
                disk.close()
