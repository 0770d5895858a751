"""A site's state directory: where its socket, first token, lock and log lie, and who owns it.

Exactly one process owns the directory: the one that holds the lock. A lock of the kernel ends with its
process, so a crash leaves nothing to clean up; the file's content is for people.
"""

import fcntl
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from crossport import errors

__all__ = ["StateDir"]

SOCKET_PATH_MAX = 107
"""What the kernel takes as the path of a Unix socket."""


class StateDir:
    """The directory ``control`` below the home of everything."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "control"
        self.socket = self.path / "socket"
        self.token_file = self.path / "token"
        self.lock_file = self.path / "owner.lock"
        self.start_file = self.path / "start.lock"
        self.logins = home / "logins"
        self.log_file = self.path / "serve.log"

    def prepare(self) -> None:
        """Make the directory, for its owner's eyes only. Raise Refused when it is somebody else's."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.Refused(
                "state.directory.unusable",
                f"{self.path} cannot be made: {error.strerror}.",
                field="home",
                remedy="Set CROSSPORT_HOME to a directory of yours.",
            ) from error
        self.check()
        if len(os.fsencode(self.socket)) > SOCKET_PATH_MAX:
            raise errors.Invalid(
                "state.directory.long",
                f"{self.path} is too long for a socket in it.",
                field="home",
                remedy=f"Choose a directory of less than {SOCKET_PATH_MAX - len('/control/socket')} bytes.",
            )

    def check(self) -> None:
        """Raise Refused when the directory belongs to another account, or others may enter it."""
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise errors.Refused(
                "state.directory.foreign",
                f"{self.path} belongs to another account (uid {status.st_uid}).",
                field="home",
                remedy="Work as that account, or set CROSSPORT_HOME to a directory of yours.",
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise errors.Refused(
                "state.directory.open",
                f"{self.path} is open to other accounts.",
                field="home",
                remedy=f"Run `chmod 700 {self.path}`, and revoke the tokens if others may have read them.",
            )

    @contextmanager
    def owned(self) -> Generator[None]:
        """Own the directory. Raise Conflict ``state.owned`` when another process does."""
        with self._locked(self.lock_file) as descriptor:
            if descriptor is None:
                raise errors.Conflict(
                    "state.owned",
                    f"{self.path} is in use by process {self.owner() or 'unknown'}.",
                    field="home",
                    remedy="Talk to that server, stop it, or set CROSSPORT_HOME to another directory.",
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield

    @contextmanager
    def starting(self) -> Generator[bool]:
        """Yield whether this process is the one that may start a server now."""
        with self._locked(self.start_file) as descriptor:
            yield descriptor is not None

    def owner(self) -> int | None:
        """Return the process id that the owner wrote down, None when there is none."""
        try:
            return int(self.lock_file.read_text())
        except (OSError, ValueError):
            return None

    @contextmanager
    def _locked(self, path: Path) -> Generator[int | None]:
        """Yield the open file with the lock held, None when another process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)
