"""The files by which a site decides offline: its keyring, its import policy, and what it accepted before."""

import os
import stat
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import Field

from crossport import errors
from crossport.certify.replay import Seen
from crossport.identity import private_file
from crossport.identity import role_document as roles
from crossport.model.codec import decoded, encoded, from_plain
from crossport.model.import_policy import POLICY_VERSION, ImportPolicy, ImportPolicyRequest
from crossport.model.keyring import Key, Keyring, key_id
from crossport.model.record import record
from crossport.model.role import RoleDocument

__all__ = ["accept", "add_key", "follow", "keyring_in", "policy_in", "policy_request_in", "seen_in"]

T = TypeVar("T")
MAX_FILE = 16 << 20
_YAML = {".json", ".yaml", ".yml"}


@record()
class _Followed:
    """A site whose role document is followed: its root's id, and the newest document that was believed."""

    site: str
    root: str
    version: int
    sha256: str


@record()
class _TrustFile:
    """The keyring's file: keys, and where those of a site come from that is followed."""

    format: Annotated[int, Field(ge=1, le=1)] = 1
    keys: tuple[Key, ...] = ()
    followed: tuple[_Followed, ...] = ()


def keyring_in(path: Path) -> Keyring:
    """Return the keyring in a JSON file; raise NotFound, or Invalid with file and field."""
    return Keyring(keys=_read(path, lambda text: decoded(text, _TrustFile)).keys)


def add_key(path: Path, key: Key) -> None:
    """Add a key to the keyring, or begin one. Raise Conflict for a known key, or one of a followed site."""
    with private_file.locked(path.absolute().parent):
        held = _trusted(path)
        if any(each.id() == key.id() for each in held.keys):
            raise errors.Conflict(
                "trust.key.known",
                f"The keyring has the key {key.id()} already.",
                field="public",
                remedy="Remove it from the file first, if other terms shall hold for it.",
            )
        if any(each.site == key.site for each in held.followed):
            raise errors.Conflict(
                "trust.site.followed",
                f"The keys of {key.site} are those of its role document.",
                field="public",
                remedy="Ask the site to list the key in its role document.",
            )
        _write(path, replace(held, keys=(*held.keys, key)))


def follow(path: Path, envelope: bytes, site: str, root: str, now: float) -> RoleDocument:
    """Let the keys of ``site`` be those of its role document, and of newer ones alone from now on.

    ``root`` is the id of the key that signs the documents; needed the first time. Raise Refused for another
    root that it did not let follow, none, and for what `crossport.identity.role_document.believed` refuses.
    """
    with private_file.locked(path.absolute().parent):
        held = _trusted(path)
        known = next((each for each in held.followed if each.site == site), None)
        pinned = (roles.root_known_as(envelope, known.root) if known else None) or roles.root_of(envelope)
        _require_root(key_id(pinned), known.root if known else "", root)
        seen = roles.Seen(version=known.version, sha256=known.sha256) if known else None
        document = roles.believed(envelope, site, pinned, now, seen)
        # When the document ends nothing in it counts any more.
        listed = [replace(key, valid_until=min(key.valid_until, document.expires)) for key in document.keys]
        entry = _Followed(
            site=site,
            root=key_id(roles.root_of(envelope)),
            version=document.version,
            sha256=roles.digest(envelope),
        )
        others = tuple(each for each in held.keys if each.site != site)
        followed = tuple(each for each in held.followed if each.site != site)
        _write(path, replace(held, keys=(*others, *listed), followed=(*followed, entry)))
    return document


def _require_root(found: str, known: str, stated: str) -> None:
    wanted = known or stated
    if not wanted:
        raise errors.Refused(
            "trust.root.unstated",
            f"The document says that it is signed by the root {found}.",
            field="--root",
            remedy=f"Compare this id with the site over another way, then: --root {found}",
        )
    if found != wanted or (stated and stated != wanted):
        raise errors.Refused(
            "trust.root.other",
            f"The document is signed by the root {found}, not by {wanted}.",
            field="--root",
            remedy="Do not use this document; ask the site, over another way, what its root is.",
        )


def _trusted(path: Path) -> _TrustFile:
    return _read(path, lambda text: decoded(text, _TrustFile)) if path.exists() else _TrustFile()


def _write(path: Path, trusted: _TrustFile) -> None:
    """Replace the file. Its keys are public, but it decides whom to trust: only you may write it."""
    private_file.write(path, encoded(trusted).encode() + b"\n")


def policy_in(path: Path) -> ImportPolicy:
    """Return the import policy in a file, which is YAML or JSON if its name ends so, and else TOML.

    Raise NotFound, or Invalid with file and field.
    """
    return policy_request_in(path).policy


def policy_request_in(path: Path) -> ImportPolicyRequest:
    """Return the same, with the generation that it replaces when the file is one that a site has written."""
    return _read(path, lambda text: _policy(text, path.suffix.lower()))


def seen_in(path: Path) -> Seen:
    """Return what was accepted before; nothing when there is no such file yet. Raise Refused when others can
    read or write it."""
    kept = private_file.read(path)
    return _told(path, lambda: decoded(kept, Seen)) if kept is not None else Seen()


def accept(path: Path, step: Callable[[Seen], Seen]) -> None:
    """Replace what was accepted before by what ``step`` makes of it; durable on return, one at a time."""
    with private_file.locked(path.absolute().parent):
        private_file.write(path, encoded(step(seen_in(path))).encode())


def _policy(text: bytes, suffix: str) -> ImportPolicyRequest:
    whole: Any = yaml.safe_load(text) if suffix in _YAML else tomllib.loads(text.decode())
    written = _field(whole, "policy")
    version = _field(whole if written is None else written, "version")
    if isinstance(version, int) and version > POLICY_VERSION:
        raise errors.Invalid(
            "policy.file.newer",
            f"The import policy has version {version}; this program knows {POLICY_VERSION}.",
            field="version",
            remedy="Use a newer crossport.",
        )
    if written is not None:
        return from_plain(whole, ImportPolicyRequest)
    return ImportPolicyRequest(policy=from_plain(whole, ImportPolicy))


def _field(value: object, name: str) -> object:
    return cast("dict[str, object]", value).get(name) if isinstance(value, dict) else None


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        with path.open("rb") as file:
            _require_ours(path, os.fstat(file.fileno()))
            text = file.read(MAX_FILE)
    except OSError as error:
        raise errors.NotFound(
            "trust.file.missing",
            f"{path} cannot be read: {error.strerror}.",
            field=path.name,
            remedy="Name the file; how to make one is in docs/how-to/certified-images.md.",
        ) from error
    return _told(path, lambda: parse(text))


def _require_ours(path: Path, facts: os.stat_result) -> None:
    """Raise Refused for a file that others may write: whoever writes it decides whom to trust."""
    if stat.S_IMODE(facts.st_mode) & 0o022 or facts.st_uid not in {0, os.geteuid()}:
        raise errors.Refused(
            "trust.file.open",
            f"{path} decides whom to trust, but it belongs to another user or others can write it.",
            field=path.name,
            remedy=f"Look at what is in it, then: chmod go-w {path}",
        )


def _told(path: Path, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = f"{path}: {_fault(error)}."
        remedy = "Correct it, or let its name end as what it is: .toml, .yaml or .json."
        raise errors.Invalid("trust.file.invalid", text, field=path.name, remedy=remedy) from error
    except errors.Invalid as error:
        raise errors.Invalid(
            error.code, f"{path}: {error.text}", field=error.field or path.name, remedy=error.remedy
        ) from error


def _fault(error: Exception) -> str:
    """Return what is wrong and where, in a line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"byte {error.position}: {error.reason}"
    return str(error)
