"""Files that only their owner may read: keys and sealed secrets.

Written whole or not at all, 0600 in a directory of mode 0700, durable on return. Read only when nobody else
can have read or replaced them.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from crossport import errors

__all__ = ["create", "locked", "make_private", "read", "remove", "sync", "write"]

MAX_SIZE = 1 << 20


def make_private(directory: Path) -> None:
    """Make ``directory`` with mode 0700; raise Refused when others can enter one that exists."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = directory.stat()
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise errors.Refused(
            "identity.directory.open",
            f"{directory} holds keys, but it belongs to another user or is open to others.",
            remedy=f"Find out who had access, then: chmod 700 {directory}",
        )


@contextlib.contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the directory's lock: of several processes that create the same file, one does."""
    path = directory / ".lock"
    with _told(path, made=True):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes | None:
    """Return the file's bytes, None if there is no such file.

    Raise Refused ``identity.file.kind`` for a link or anything else that is no file, ``identity.file.open``
    when others can read it.
    """
    if path.is_symlink():
        raise _no_file(path)
    try:
        with _told(path):
            # O_NONBLOCK: a named pipe must not hold us up.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise _no_file(path)
    with os.fdopen(descriptor, "rb") as file:
        if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise errors.Refused(
                "identity.file.open",
                f"{path} is secret, but it belongs to another user or others can read it.",
                remedy="Find out who had access and replace the secret; the file's mode must be 0600.",
            )
        return file.read(MAX_SIZE)


def write(path: Path, data: bytes) -> None:
    """Replace the file by ``data``. After a crash there is the old content or the new, never a part."""
    with _drafted(path, data) as draft:
        draft.replace(path)
    sync(path.parent)


def create(path: Path, data: bytes) -> None:
    """Write a new file, whole or not at all; raise Conflict ``identity.file.taken`` when there is one."""
    try:
        with _drafted(path, data) as draft, _told(path):
            path.hardlink_to(draft)
    except FileExistsError as error:
        raise errors.Conflict(
            "identity.file.taken",
            f"{path} exists already.",
            remedy="Name a file that does not exist yet: a secret is never written over another.",
            field="file",
        ) from error
    sync(path.parent)


@contextlib.contextmanager
def _drafted(path: Path, data: bytes) -> Generator[Path]:
    """Give a durable file beside ``path`` with ``data`` in it, removed afterwards if it is still there."""
    if len(data) > MAX_SIZE:
        raise errors.Invalid(
            "identity.file.large",
            f"A secret file holds {MAX_SIZE} bytes at most.",
            remedy="Keep a shorter secret; a key or a password has some thousand bytes.",
        )
    with _told(path, made=True):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)  # mode 0600
    draft = Path(name)
    try:
        with _told(path), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove the file. Not an error when it is gone."""
    path.unlink(missing_ok=True)
    sync(path.parent)


@contextlib.contextmanager
def _told(path: Path, *, made: bool = False) -> Generator[None]:
    """Raise Unavailable for what the file system refuses; of a file that is ``made``, also a missing path."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not made:
            raise
        raise errors.Unavailable(
            "identity.file.unusable",
            f"{path}: {error.strerror or error}.",
            field="file",
            remedy="Look at the path, its rights, and the room that is left.",
        ) from error


def _no_file(path: Path) -> errors.Refused:
    return errors.Refused(
        "identity.file.kind",
        f"{path} should hold a secret, but is a link or something else that is no file.",
        remedy="Find out who put it there, and put the file back.",
    )


def sync(directory: Path) -> None:
    """Make durable which files the directory has."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
