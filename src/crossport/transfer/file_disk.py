"""A plain file or block device of this machine as a disk: ``DiskRef(kind="file", locator="/path")``.

What a locator says of changes (see `crossport.model.locator`) is told with the extents.
"""

import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from crossport import errors
from crossport.model.artifact import DiskRef, Extent
from crossport.model.locator import changes_laid_over, file_of
from crossport.transfer.bounds import check_range

__all__ = ["FileDisk"]

_STEP = 1 << 20
_ALIGNED = 4096
_BLKZEROOUT = 0x127F  # linux/fs.h


class FileDisk:
    """An open file: a BlockReader and, opened for writing, a BlockWriter.

    Written to, a regular file that is shorter than ``ref.size`` is made that long; it must exist. One
    that is ``unchanging`` is only read, and nobody may write to it meanwhile: what was read before and after
    would not belong together.
    """

    def __init__(self, ref: DiskRef, *, writable: bool, unchanging: bool = False) -> None:
        """Open it; raise Unavailable when it cannot be opened, Invalid when it is no disk."""
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        path, self._changed = file_of(ref.locator)
        try:
            self._descriptor = os.open(path, flags)
        except OSError as error:
            raise errors.Unavailable(
                "transfer.disk.closed",
                f"{path} cannot be opened ({error.strerror}).",
                remedy="Look whether the disk is still there at its cloud; then try again.",
            ) from error
        self._closed = False
        self._seeking = threading.Lock()
        facts = os.fstat(self._descriptor)
        self._device = stat.S_ISBLK(facts.st_mode)
        # What a device holds has no time of its own.
        self._written = (facts.st_mtime_ns, facts.st_size) if unchanging and not self._device else None
        try:
            self.size = _size(self._descriptor, ref, writable=writable)
            self.reads_as_zero = writable and all(extent.zero for extent in self.extents(0, self.size))
        except (errors.Error, OSError):
            self.close()
            raise

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range: the file system's holes are zero, the locator tells what changed."""
        return changes_laid_over(self._allocated(start, size), self._changed)

    def _allocated(self, start: int, size: int) -> Iterator[Extent]:
        """Return data and holes (lseek(2), SEEK_DATA); a device is all data."""
        self._check(start, size)
        end = start + size
        while start < end:
            data, hole = (start, end) if self._device else self._next_run(start, end)
            if data > start:
                yield Extent(start, data - start, zero=True)
            if hole > data:
                yield Extent(data, hole - data)
            start = hole
        self._check_unchanged()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``; raise Broken once an unchanging file was written to."""
        self._check(start, len(buffer))
        while buffer:
            try:
                size = os.preadv(self._descriptor, [buffer], start)
            except OSError as error:
                raise _failed(error, "read", start, len(buffer)) from error
            if not size:
                raise errors.Broken(
                    "transfer.disk.shrank",
                    f"The file ends at {start}: it became shorter.",
                    remedy="Begin a new run: the disk changed its size.",
                )
            start, buffer = start + size, buffer[size:]
        self._check_unchanged()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        view = memoryview(data)
        self._check(start, len(view))
        while view:
            try:
                size = os.pwrite(self._descriptor, view, start)
            except OSError as error:
                raise _failed(error, "written", start, len(view)) from error
            start, view = start + size, view[size:]

    def zero(self, start: int, size: int) -> None:
        """Make the range read as zero; holes stay holes."""
        if self._device and size and not (start | size) % _ALIGNED:
            self._check(start, size)
            self._zero_device(start, size)
            return
        for extent in self.extents(start, size):
            if not extent.zero:
                for piece in range(extent.start, extent.start + extent.size, _STEP):
                    self.write(piece, bytes(min(_STEP, extent.start + extent.size - piece)))

    def _zero_device(self, start: int, size: int) -> None:
        # The kernel writes zeros itself, or has the device do it, where the device cannot forget safely.
        try:
            fcntl.ioctl(self._descriptor, _BLKZEROOUT, struct.pack("=QQ", start, size))
        except OSError as error:
            raise _failed(error, "written", start, size) from error

    def flush(self) -> None:
        """Return when everything written before is on the storage."""
        self._check(0, 0)
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise _failed(error, "flushed", 0, self.size) from error

    def close(self) -> None:
        """Let go."""
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

    def _next_run(self, start: int, end: int) -> tuple[int, int]:
        """Return where the next data begin and end, behind ``start``; a file system without holes has one."""
        with self._seeking:
            data = min(self._next_data(start), end)
            return data, end if data == end else min(os.lseek(self._descriptor, data, os.SEEK_HOLE), end)

    def _next_data(self, start: int) -> int:
        try:
            return os.lseek(self._descriptor, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return self.size
            raise

    def _check_unchanged(self) -> None:
        if self._written is None:
            return
        facts = os.fstat(self._descriptor)
        if (facts.st_mtime_ns, facts.st_size) != self._written:
            raise errors.Broken(
                "transfer.source.changed",
                "Somebody wrote to the file while it was read: its parts do not belong together.",
                remedy="Make sure that nothing writes to the source, then copy it again.",
            )

    def _check(self, start: int, size: int) -> None:
        check_range(start, size, self.size, closed=self._closed)


def _size(descriptor: int, ref: DiskRef, *, writable: bool) -> int:
    facts = os.fstat(descriptor)
    if stat.S_ISBLK(facts.st_mode):
        return os.lseek(descriptor, 0, os.SEEK_END)
    if not stat.S_ISREG(facts.st_mode):
        raise errors.Invalid(
            "transfer.disk.kind",
            f"{Path(ref.locator).name} is neither a file nor a block device.",
            remedy="Look at how the cloud describes its disk: its driver is at fault.",
        )
    if writable and facts.st_size < ref.size:
        os.ftruncate(descriptor, ref.size)
        return ref.size
    return facts.st_size


def _failed(error: OSError, verb: str, start: int, size: int) -> errors.Error:
    text = f"Bytes {start} to {start + size} cannot be {verb} ({error.strerror})."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return errors.Conflict("transfer.target.full", text, remedy="Make room where this disk lies.")
    return errors.Broken(
        "transfer.disk.failed", text, remedy="Check the storage under this disk, then try again."
    )
