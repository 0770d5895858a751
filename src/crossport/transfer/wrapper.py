"""Disks around other disks, and themselves disks: what passes is counted, or held to a rate."""

import threading

from crossport.spi.block import BlockReader, BlockWriter
from crossport.spi.wrapped import WrappedReader, WrappedWriter
from crossport.transfer.throttle import Throttle

__all__ = [
    "CountedWriter",
    "Statistics",
    "ThrottledReader",
    "ThrottledWriter",
]


class Statistics(WrappedReader):
    """Counts the bytes that were read."""

    def __init__(self, reader: BlockReader) -> None:
        super().__init__(reader)
        self.bytes_read = 0
        self._counting = threading.Lock()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within, counted."""
        super().read_into(start, buffer)
        with self._counting:
            self.bytes_read += len(buffer)


class CountedWriter(WrappedWriter):
    """Counts the bytes that were written and zeroed, and the flushes."""

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self.bytes_written = self.bytes_zeroed = self.flush_count = 0
        self._counting = threading.Lock()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """As the disk within, counted."""
        super().write(start, data)
        with self._counting:
            self.bytes_written += len(data)

    def zero(self, start: int, size: int) -> None:
        """As the disk within, counted."""
        super().zero(start, size)
        with self._counting:
            self.bytes_zeroed += size

    def flush(self) -> None:
        """As the disk within, counted."""
        super().flush()
        with self._counting:
            self.flush_count += 1


class ThrottledReader(WrappedReader):
    """Reads no faster than its throttle lets pass, over all threads together."""

    def __init__(self, reader: BlockReader, throttle: Throttle) -> None:
        super().__init__(reader)
        self._throttle = throttle

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within, when its turn has come."""
        while not self._throttle.take(len(buffer)):
            pass
        super().read_into(start, buffer)


class ThrottledWriter(WrappedWriter):
    """Writes no faster than its throttle lets pass, over all threads together. Zeroing is not held back."""

    def __init__(self, writer: BlockWriter, throttle: Throttle) -> None:
        super().__init__(writer)
        self._throttle = throttle

    def write(self, start: int, data: bytes | memoryview) -> None:
        """As the disk within, when its turn has come."""
        while not self._throttle.take(len(data)):
            pass
        super().write(start, data)
