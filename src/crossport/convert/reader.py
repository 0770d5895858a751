"""Look into an image at any place, and nothing but look.

A reader never returns fewer bytes than asked for: what is not there raises `Truncated`, which the inspector
turns into a finding.
"""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from crossport import errors

__all__ = ["BytesReader", "FileReader", "Reader", "SliceReader", "Truncated", "held", "missing", "opened"]


class Truncated(Exception):
    """The image ends before ``end``, where something that belongs to it should be."""

    def __init__(self, what: str, end: int, size: int) -> None:
        super().__init__(what, end, size)
        self.what = what
        self.end = end
        self.size = size


class Reader(Protocol):
    """Random access to the bytes of an image."""

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        ...

    def read_at(self, start: int, size: int, what: str = "data") -> bytes:
        """Return exactly ``size`` bytes; raise Truncated naming ``what`` if they are not all there."""
        ...


class BytesReader:
    """An image in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self._content)

    def read_at(self, start: int, size: int, what: str = "data") -> bytes:
        """Return exactly ``size`` bytes; raise Truncated naming ``what`` if they are not all there."""
        _require(self.size, start, size, what)
        return self._content[start : start + size]


class FileReader:
    """An open file, regular or a block device. The descriptor stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._size = os.lseek(descriptor, 0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Size in bytes when the reader was made."""
        return self._size

    def read_at(self, start: int, size: int, what: str = "data") -> bytes:
        """Return exactly ``size`` bytes; raise Truncated naming ``what`` if they are not all there."""
        _require(self._size, start, size, what)
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(self.descriptor, size, start)
            if not part:
                raise Truncated(what, start + size, start)
            parts.append(part)
            start += len(part)
            size -= len(part)
        return b"".join(parts)


class SliceReader:
    """A part of another reader, such as one file of an archive."""

    def __init__(self, reader: Reader, start: int, size: int) -> None:
        _require(reader.size, start, size, "part")
        self._reader = reader
        self._start = start
        self._size = size

    @property
    def size(self) -> int:
        """Size of the part in bytes."""
        return self._size

    def read_at(self, start: int, size: int, what: str = "data") -> bytes:
        """Return exactly ``size`` bytes; raise Truncated naming ``what`` if they are not all there."""
        _require(self._size, start, size, what)
        return self._reader.read_at(self._start + start, size, what)


@contextmanager
def opened(path: Path) -> Generator[FileReader]:
    """Open ``path`` for reading. Raise NotFound ``image.file.missing``, Invalid ``image.file.kind`` for no
    file."""
    try:
        # O_NONBLOCK: a named pipe must not hold us up; it is refused below.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise missing(path) from error
    except PermissionError as error:
        raise errors.Refused(
            "image.file.closed",
            f"{path} may not be read by this user.",
            remedy="Open the file to this user, or run the command as its owner.",
            field=path.name,
        ) from error
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
            raise errors.Invalid(
                "image.file.kind",
                f"{path} is neither a file nor a block device.",
                remedy="Name a disk image or a package.",
                field=path.name,
            )
        yield FileReader(descriptor)
    finally:
        os.close(descriptor)


def missing(path: Path) -> errors.NotFound:
    """Return the error that says that there is no file ``path``."""
    return errors.NotFound(
        "image.file.missing",
        f"There is no file {path}.",
        remedy="Look at the spelling, and from which directory the command is run.",
        field=path.name,
    )


def held(reader: FileReader) -> Path:
    """Return a path to the very file that ``reader`` reads, for as long as it is open in this process."""
    return Path(f"/proc/self/fd/{reader.descriptor}")


def _require(total: int, start: int, size: int, what: str) -> None:
    if start < 0 or size < 0 or start + size > total:
        raise Truncated(what, start + size, total)
