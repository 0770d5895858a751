"""The files by which a site decides offline: its keyring, its import policy, and what it accepted before."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from crossport import errors
from crossport.certify.replay import Seen
from crossport.identity import private_file
from crossport.model.codec import decoded, encoded, from_plain
from crossport.model.import_policy import POLICY_VERSION, ImportPolicy
from crossport.model.keyring import Keyring

__all__ = ["accept", "keyring_in", "policy_in", "seen_in", "write_keyring"]

T = TypeVar("T")
MAX_FILE = 16 << 20


def keyring_in(path: Path) -> Keyring:
    """Return the keyring in a JSON file; raise NotFound, or Invalid with file and field."""
    return _read(path, lambda text: decoded(text, Keyring))


def write_keyring(path: Path, keyring: Keyring) -> None:
    """Replace the keyring. Its keys are public, but it decides whom to trust: only you may write it."""
    private_file.write(path, encoded(keyring).encode() + b"\n")


def policy_in(path: Path) -> ImportPolicy:
    """Return the import policy in a TOML file; raise NotFound, or Invalid with file and field."""
    return _read(path, _policy)


def seen_in(path: Path) -> Seen:
    """Return what was accepted before; nothing when there is no such file yet. Raise Refused when others can
    read or write it."""
    kept = private_file.read(path)
    return _told(path, lambda: decoded(kept, Seen)) if kept is not None else Seen()


def accept(path: Path, step: Callable[[Seen], Seen]) -> None:
    """Replace what was accepted before by what ``step`` makes of it; durable on return, one at a time."""
    with private_file.locked(path.absolute().parent):
        private_file.write(path, encoded(step(seen_in(path))).encode())


def _policy(text: bytes) -> ImportPolicy:
    value: dict[str, Any] = tomllib.loads(text.decode())
    version = value.get("version", POLICY_VERSION)
    if isinstance(version, int) and version > POLICY_VERSION:
        raise errors.Invalid(
            "policy.file.newer",
            f"The import policy has version {version}; this program knows {POLICY_VERSION}.",
            field="version",
            remedy="Use a newer crossport.",
        )
    return from_plain(value, ImportPolicy)


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE)
    except OSError as error:
        raise errors.NotFound(
            "trust.file.missing",
            f"{path} cannot be read: {error.strerror}.",
            field=path.name,
            remedy="Name the file; how to make one is in docs/how-to/certified-images.md.",
        ) from error
    return _told(path, lambda: parse(text))


def _told(path: Path, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.Invalid(
            "trust.file.invalid", f"{path}: {error}.", field=path.name, remedy="Correct it and try again."
        ) from error
    except errors.Invalid as error:
        raise errors.Invalid(
            error.code, f"{path}: {error.text}", field=error.field or path.name, remedy=error.remedy
        ) from error
