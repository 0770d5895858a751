"""Disks that are sparse files on this machine, for the simulated cloud and for tests that survive a kill."""

import os
from collections.abc import Iterator
from pathlib import Path

from crossport import errors
from crossport.model.artifact import DiskRef, Extent
from crossport.model.locator import changes_laid_over, file_of

__all__ = ["FileDisks", "OpenFileDisk"]


class OpenFileDisk:
    """One opening of a file: a BlockReader, and a BlockWriter if it was opened for writing."""

    def __init__(self, locator: str, *, writable: bool) -> None:
        name, self._changed = file_of(locator)
        path = Path(name)
        try:
            self._descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        except FileNotFoundError as error:
            raise errors.NotFound("file.disk.unknown", f"There is no disk file {path.name}.") from error
        self.size = os.fstat(self._descriptor).st_size
        self.reads_as_zero = writable and os.fstat(self._descriptor).st_blocks == 0

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range as the file system tells data from holes, and the locator what changed."""
        return changes_laid_over(self._allocated(start, size), self._changed)

    def _allocated(self, start: int, size: int) -> Iterator[Extent]:
        position, end = start, start + size
        while position < end:
            data = self._seek(position, os.SEEK_DATA, end)
            if data > position:
                yield Extent(position, data - position, zero=True)
            if data < end:
                hole = self._seek(data, os.SEEK_HOLE, end)
                yield Extent(data, hole - data)
                data = hole
            position = data

    def _seek(self, position: int, what: int, end: int) -> int:
        try:
            return min(os.lseek(self._descriptor, position, what), end)
        except OSError:  # ENXIO: nothing but a hole to the end of the file
            return end

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``."""
        if start + len(buffer) > self.size:
            raise errors.Invalid("file.disk.beyond_end", "The range is not within the disk.")
        done = 0
        while done < len(buffer):
            done += os.preadv(self._descriptor, [buffer[done:]], start + done)

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        if start + len(data) > self.size:
            raise errors.Invalid("file.disk.beyond_end", "The range is not within the disk.")
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, memoryview(data)[done:], start + done)

    def zero(self, start: int, size: int) -> None:
        """Make the range read as zero."""
        self.write(start, bytes(size))

    def flush(self) -> None:
        """Wait until it is on the medium."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileDisks:
    """Opens references of kind ``file`` (see `crossport.model.locator`)."""

    def open_reader(self, ref: DiskRef) -> OpenFileDisk:
        """Open a disk for reading."""
        return OpenFileDisk(ref.locator, writable=False)

    def open_writer(self, ref: DiskRef) -> OpenFileDisk:
        """Open a disk for writing."""
        return OpenFileDisk(ref.locator, writable=True)
