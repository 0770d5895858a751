"""Where a simulated cloud keeps its state: one small JSON file a thing, and sparse files as disks.

A directory instead of the process's memory, so that a test can kill a process in the middle of a migration
and look at the same cloud from another one. A lock makes each change whole.
"""

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from crossport import errors
from crossport.model import codec

__all__ = ["Store"]

_PIECE = 1 << 20
_LONGEST = 240  # bytes of a name, so that a file system of 255 has room for what is put around it

T = TypeVar("T")


class Store:
    """A directory of things by kind and id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[tuple[str, str], tuple[str, object]] = {}  # what a text was read as
        (root / "disks").mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep every other process out; raise Unavailable while the directory is not there."""
        try:
            lock = (self.root / "lock").open("w")
        except FileNotFoundError as error:
            raise errors.Unavailable(
                "cloud.silent",
                f"The simulated cloud in {self.root} does not answer.",
                remedy="Bring its directory back.",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def put(self, kind: str, name: str, value: object) -> None:
        """Keep ``value``, whole or not at all."""
        folder = self.root / kind
        folder.mkdir(exist_ok=True)
        fresh = folder / f".{name}.new"
        fresh.write_text(codec.encoded(value))
        fresh.replace(folder / f"{name}.json")

    def find(self, kind: str, name: str, model: type[T]) -> T | None:
        """Return the thing, None when there is none, as for a name that no file could have."""
        if "/" in name or "\0" in name or len(name.encode()) > _LONGEST:
            return None
        try:
            text = (self.root / kind / f"{name}.json").read_text()
        except FileNotFoundError:
            return None
        known, value = self._parsed.get((kind, name), ("", None))
        if known == text and isinstance(value, model):
            return value
        fresh = codec.decoded(text, model)
        self._parsed[kind, name] = (text, fresh)
        return fresh

    def every(self, kind: str, model: type[T]) -> tuple[T, ...]:
        """Return all things of a kind, by id."""
        folder = self.root / kind
        names = sorted(path.stem for path in folder.glob("[!.]*.json")) if folder.is_dir() else []
        found = (self.find(kind, name, model) for name in names)
        return tuple(thing for thing in found if thing is not None)

    def drop(self, kind: str, name: str) -> None:
        """Remove the thing if it is there."""
        (self.root / kind / f"{name}.json").unlink(missing_ok=True)

    def disk(self, name: str) -> Path:
        """Return where the disk ``name`` lies, whether or not it exists."""
        return self.root / "disks" / name

    def make_disk(self, name: str, size: int, content: bytes = b"") -> Path:
        """Make, or make anew, a disk that reads as ``content`` and then zeros."""
        path = self.disk(name)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        os.truncate(fresh, size)
        fresh.replace(path)
        return path

    def part_disk(self, name: str) -> None:
        """Keep what the disk ``name`` holds, but let nobody reach it who has it open."""
        path = self.disk(name)
        fresh = path.with_suffix(".new")
        with path.open("rb") as old, fresh.open("wb") as new:
            size = os.fstat(old.fileno()).st_size
            start = 0
            while (data := _seek(old.fileno(), start, os.SEEK_DATA, size)) < size:
                start = _seek(old.fileno(), data, os.SEEK_HOLE, size)
                _copy(old.fileno(), new.fileno(), data, start)
            os.ftruncate(new.fileno(), size)
        fresh.replace(path)

    def count_up(self) -> int:
        """Return the next number, from 1, never the same twice. The caller has the lock."""
        path = self.root / "count"
        number = int(path.read_text()) + 1 if path.exists() else 1
        fresh = self.root / "count.new"
        fresh.write_text(str(number))
        fresh.replace(path)
        return number


def _seek(descriptor: int, position: int, what: int, end: int) -> int:
    """Return where data or a hole begins, ``end`` when there is none (lseek(2))."""
    try:
        return min(os.lseek(descriptor, position, what), end)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end


def _copy(old: int, new: int, start: int, end: int) -> None:
    while start < end:
        piece = os.pread(old, min(_PIECE, end - start), start)
        os.pwrite(new, piece, start)
        start += len(piece)
