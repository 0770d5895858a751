"""A certified image as one file: a tar archive of plain files that has one form only.

Every byte of it follows from the names, the lengths and the contents of its files, so that no bit can be
changed without being seen: no owners, no times, nothing behind the end.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from crossport.certify.refusal import refused

__all__ = ["END", "Entry", "Readable", "entries", "header", "padding"]

END = bytes(1024)
"""Two empty blocks end an archive (POSIX.1-1988)."""
_BLOCK = 512
_MAX_ENTRIES = 128
_USTAR_LIMIT = 8 << 30


class Readable(Protocol):
    """Random access to the archive."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def read_at(self, start: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``start``, which are there."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: ``size`` bytes from ``start``."""

    name: str
    start: int
    size: int


def header(name: str, size: int) -> bytes:
    """Return the block before a file. Above 8 GiB, which ustar cannot say, it is that of GNU tar."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.USTAR_FORMAT if size < _USTAR_LIMIT else tarfile.GNU_FORMAT, "ascii")


def padding(size: int) -> bytes:
    """Return what follows a file of ``size`` bytes up to the next block."""
    return bytes(-size % _BLOCK)


def entries(archive: Readable) -> Iterator[Entry]:
    """Yield the files of ``archive``. Step 1: raise Refused for anything that was not written so."""
    place, seen = 0, set[str]()
    while True:
        if place + _BLOCK > archive.size:
            raise refused("seal.archive.altered", why="it ends too early")
        block = archive.read_at(place, _BLOCK)
        if not any(block):
            break
        entry = _entry(block, place + _BLOCK)
        end = entry.start + entry.size
        place = end + len(padding(entry.size))
        if place > archive.size or archive.read_at(end, place - end) != padding(entry.size):
            raise refused("seal.archive.altered", why=f"{entry.name} ends otherwise than it says")
        if entry.name in seen or len(seen) >= _MAX_ENTRIES:
            raise refused("seal.archive.altered", why=f"{entry.name} is there twice, or there are too many")
        seen.add(entry.name)
        yield entry
    if archive.size != place + len(END) or any(archive.read_at(place, len(END))):
        raise refused("seal.archive.altered", why="something follows its end")


def _entry(block: bytes, start: int) -> Entry:
    try:
        found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        form = header(found.name, found.size)
    except (tarfile.TarError, ValueError) as error:
        raise refused("seal.archive.altered", why="a header is none") from error
    if form != block or found.size < 0:
        raise refused("seal.archive.altered", why=f"the header of {found.name!r} is not in its only form")
    return Entry(found.name, start, found.size)
