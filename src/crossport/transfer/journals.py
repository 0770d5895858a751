"""Where the journals of copies lie: one file for each artifact, in one directory for each run."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

from crossport import errors
from crossport.transfer.host import Journal

__all__ = ["Journals", "shelf"]

_SHELF = re.compile(r"[0-9a-f]{32}")


class Journals:
    """The journals of one host."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def opened(self, journal: Journal | None) -> Generator[IO[bytes]]:
        """Open a journal, new or as it was left; without a name or a directory, one that nobody finds again.

        Raise Unavailable when it cannot be made.
        """
        if journal is None or self._directory is None:
            with tempfile.TemporaryFile() as file:
                yield file
            return
        run, artifact = journal
        path = self._directory / shelf(run) / shelf(artifact)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise errors.Unavailable(
                "transfer.journal.closed",
                f"The journal of {artifact} cannot be opened ({error.strerror}).",
                remedy=f"Look at {path.parent}: is there room, may the server write there?",
            ) from error
        with file:
            yield file

    def shelves(self) -> tuple[str, ...]:
        """Return the names of the directories that hold journals: `shelf` of their runs."""
        if self._directory is None or not self._directory.exists():
            return ()
        return tuple(sorted(path.name for path in self._directory.iterdir() if _SHELF.fullmatch(path.name)))

    def forget(self, run: str) -> None:
        """Remove the journals of ``run``, if there are any."""
        self.clear(shelf(run))

    def clear(self, name: str) -> None:
        """Remove the journals on one shelf, if it is one and there are any."""
        if self._directory is not None and _SHELF.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._directory / name)


def shelf(of: str) -> str:
    """Return under which name something of that id lies: ids may hold what file names may not."""
    return hashlib.sha256(of.encode()).hexdigest()[:32]
