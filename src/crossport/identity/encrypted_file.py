"""Files encrypted to one reader, in the format age (age-encryption.org/v1), which other programs read too.

A file is encrypted in pieces of 64 KiB, each authenticated together with its place and with whether it is the
last: what was changed, cut, reordered or added to does not decrypt. Memory is bounded, however long the file.
"""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

from crossport import errors
from crossport.identity import private_file

__all__ = ["decrypt", "encrypt", "make_key", "recipient_of"]

_AGE: Any = pyrage  # written in Rust, and without types
_PREFIX, _KEY_PREFIX = "age1", "AGE-SECRET-KEY-1"


def make_key(path: Path) -> str:
    """Write a new key into a new file that only its owner may read; return its recipient."""
    identity = _AGE.x25519.Identity.generate()
    recipient = str(identity.to_public())
    private_file.create(path, f"# public key: {recipient}\n{identity}\n".encode())
    return recipient


def recipient_of(path: Path) -> str:
    """Return the recipient of a key; raise what reading a private file raises."""
    return str(_identity(path).to_public())


def encrypt(source: Path, target: Path, recipient: str) -> None:
    """Write ``source`` into the new file ``target``: only who holds the key of ``recipient`` can read it.

    Raise Invalid for what is no recipient, Conflict ``encryption.target.taken`` when there is a target.
    """
    try:
        known = _AGE.x25519.Recipient.from_str(recipient.strip())
    except _AGE.RecipientError as error:
        raise errors.Invalid(
            "encryption.recipient.malformed",
            f"{recipient[:80]!r} is no recipient.",
            field="to",
            remedy=f"Name what the importing site gave you; it begins with {_PREFIX}.",
        ) from error
    with _opened(source) as reader, _new(target) as writer:
        try:
            _AGE.encrypt_io(reader, writer, [known])
        except (_AGE.EncryptError, OSError) as error:
            raise reader.failure or writer.failure or error from error


def decrypt(source: Path, target: Path, key: Path) -> None:
    """Write what ``source`` holds into the new file ``target``, which appears when all of it was authentic.

    Raise Refused ``encryption.file.foreign`` for a file that is encrypted to somebody else or to nobody,
    ``encryption.file.broken`` for one that was changed or cut, and Conflict as `encrypt` does.
    """
    identity = _identity(key)
    with _opened(source) as reader, _new(target) as writer:
        try:
            _AGE.decrypt_io(reader, writer, [identity])
        except (_AGE.DecryptError, OSError) as error:
            if failure := reader.failure or writer.failure:
                raise failure from error
            raise _unauthentic(head=isinstance(error, _AGE.DecryptError)) from error


class _Watched:
    """A file that remembers what went wrong with it: the library tells its own errors and ours alike."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.failure: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        with self._watched():
            return self._file.read(size)

    def write(self, data: bytes) -> int:
        with self._watched():
            return self._file.write(data)

    def flush(self) -> None:
        with self._watched():
            self._file.flush()

    @contextlib.contextmanager
    def _watched(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.failure = _unusable(self._path, error)
            raise
        except BaseException as error:
            self.failure = error
            raise


@contextlib.contextmanager
def _opened(path: Path) -> Generator[_Watched]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unusable(path, error) from error
    with file:
        yield _Watched(file, path)


@contextlib.contextmanager
def _new(path: Path) -> Generator[_Watched]:
    """Give a file that gets its name when all is in it, and durable; only its owner may read it."""
    if path.exists() or path.is_symlink():
        raise _taken(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    except OSError as error:
        raise _unusable(path, error) from error
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield _Watched(file, path)
            file.flush()
            os.fsync(descriptor)
        path.hardlink_to(draft)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        draft.unlink(missing_ok=True)
    private_file.sync(path.parent)


def _identity(path: Path) -> Any:
    kept = private_file.read(path)
    if kept is None:
        raise errors.NotFound(
            "encryption.key.absent",
            f"There is no {path}.",
            field="key",
            remedy="Name the file of the importing site's key: crossport image encryption-key makes one.",
        )
    lines = [line for line in kept.decode(errors="replace").split() if line.startswith(_KEY_PREFIX)]
    try:
        (line,) = lines
        return _AGE.x25519.Identity.from_str(line)
    except (ValueError, _AGE.IdentityError) as error:
        raise errors.Broken(
            "encryption.key.damaged",
            f"{path} does not hold exactly one key of age.",
            field="key",
            remedy="Restore the file from a backup; without it nothing that is encrypted to it can be read.",
        ) from error


def _unauthentic(*, head: bool) -> errors.Refused:
    """Return what is said of a file that does not decrypt: by its head, or by a piece of its content."""
    if head:
        return errors.Refused(
            "encryption.file.foreign",
            "The file is not encrypted to this key.",
            field="file",
            remedy="Use the key whose recipient it was encrypted to. It may also be no file of age, or a "
            "changed one.",
        )
    return errors.Refused(
        "encryption.file.broken",
        "The file was changed or cut after it was encrypted.",
        field="file",
        remedy="Nothing of it was kept. Get it anew, and find out what happened to it on its way.",
    )


def _unusable(path: Path, error: OSError) -> errors.Unavailable:
    return errors.Unavailable(
        "encryption.file.unusable",
        f"{path}: {error.strerror or error}.",
        field="file",
        remedy="Look at the path, its rights, and the room that is left.",
    )


def _taken(path: Path) -> errors.Conflict:
    return errors.Conflict(
        "encryption.target.taken",
        f"{path} exists already.",
        field="target",
        remedy="Name a file that does not exist yet.",
    )
