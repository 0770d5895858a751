"""Where the journals of copies lie: one file for each artifact, in one directory for each run."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

from crossport import errors
from crossport.transfer.host import Journal

__all__ = ["Journals"]


class Journals:
    """The journals of one host. Their names are digests: ids of runs may hold what file names may not."""

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
        path = self._of(self._directory, run) / _name(artifact)
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

    def forget(self, run: str) -> None:
        """Remove the journals of ``run``, if there are any."""
        if self._directory is not None:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._of(self._directory, run))

    def _of(self, directory: Path, run: str) -> Path:
        return directory / _name(run)


def _name(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:32]
