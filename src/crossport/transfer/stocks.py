"""The stocks of one host: one directory for each tenant, opened for the workers that receive for it.

A stock is bounded and there are few of them; one that was used least lately is dropped for a new one.
Dropping destroys its key first: whatever is left of its chunks on the disk says nothing any more.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import MOST, SEGMENT, index_size

__all__ = ["KEPT_S", "STOCKS_MAX", "Stocks"]

STOCKS_MAX = 8
KEPT_S = 30 * 24 * 3600.0
"""A stock that nobody used for so long is dropped."""
_KEY = 32
_LOCK = "lock"


class Stocks:
    """The stocks in one directory, of at most ``size`` bytes each."""

    def __init__(self, directory: Path | None, size: int) -> None:
        """Keep stocks in ``directory``; without one, or with too small a ``size``, there are none."""
        self._directory = directory
        self._size = min(size, MOST) // SEGMENT * SEGMENT

    @contextlib.contextmanager
    def opened(self, name: str) -> Generator[Access | None]:
        """Open the stock called ``name``, made now if there is none.

        None without a name, where there are no stocks, and where the disk has no room for one: a copy goes
        on without.
        """
        with contextlib.ExitStack() as files:
            yield self._opened(name, files)

    def tidy(self) -> None:
        """Drop what is too old or too much, and all when there are to be none."""
        if self._directory is not None and self._directory.is_dir():
            with self._locked(self._directory):
                self._tidy(self._directory, keep="")

    def _opened(self, name: str, files: contextlib.ExitStack) -> Access | None:
        directory = self._directory
        if not name or directory is None:
            return None
        if not self._size:
            self.tidy()
            return None
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(directory):
            place = directory / hashlib.sha256(name.encode()).hexdigest()[:32]
            self._tidy(directory, keep=place.name)
            if not self._is_sound(place):
                _drop(place)
                if not self._make(place):
                    return None
            os.utime(place)
            chunks, table = (_descriptor(place / part, files) for part in ("chunks", "table"))
            return Access(chunks, table, self._size, (place / "key").read_bytes())

    def _make(self, place: Path) -> bool:
        """Make an empty stock; return False where the disk has no room for two."""
        facts = os.statvfs(place.parent)
        if facts.f_bavail * facts.f_frsize < 2 * self._size:
            return False
        place.mkdir(mode=0o700)
        sizes = {"key": 0, "table": index_size(self._size), "chunks": self._size}
        for part, size in sizes.items():
            descriptor = os.open(place / part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                file.truncate(size)
                if part == "key":
                    file.write(os.urandom(_KEY))
        return True

    def _is_sound(self, place: Path) -> bool:
        sizes = {"key": _KEY, "table": index_size(self._size), "chunks": self._size}
        with contextlib.suppress(FileNotFoundError):
            return all((place / part).stat().st_size == size for part, size in sizes.items())
        return False

    def _tidy(self, directory: Path, keep: str) -> None:
        others = [place for place in directory.iterdir() if place.name not in {keep, _LOCK}]
        others.sort(key=lambda place: place.stat().st_mtime, reverse=True)
        now = (directory / _LOCK).stat().st_mtime
        most = STOCKS_MAX - bool(keep) if self._size else 0
        for number, place in enumerate(others):
            if number >= most or now - place.stat().st_mtime > KEPT_S:
                _drop(place)

    @contextlib.contextmanager
    def _locked(self, directory: Path) -> Generator[None]:
        with (directory / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(file.fileno())  # as all ages here, it is told by the file system's clock
            yield


def _drop(place: Path) -> None:
    """Destroy the key, then remove the rest. Workers that still use it find nothing they can open."""
    with contextlib.suppress(FileNotFoundError), (place / "key").open("r+b") as key:
        key.write(bytes(_KEY))
        key.flush()
        os.fsync(key.fileno())
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)


def _descriptor(path: Path, files: contextlib.ExitStack) -> int:
    """Open a file anew: locks on it are this opening's own."""
    return files.enter_context(
        os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC), "r+b", buffering=0)
    ).fileno()
