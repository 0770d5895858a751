"""Read what was signed, a `crossport.model.statement`: it is a seal or a conversion, and no more."""

import json
from typing import TypeVar

from pydantic import JsonValue

from crossport import errors
from crossport.certify.envelope import Subject, parsed
from crossport.certify.refusal import refused
from crossport.model.certified import MANIFEST_VERSION, Manifest, PartKind, Seal
from crossport.model.codec import from_plain
from crossport.model.conversion import CONVERSION_VERSION, Conversion
from crossport.model.statement import (
    CONVERSION_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    conversion_payload,
    payload_of,
)

__all__ = ["conversion_in", "seal_in"]

T = TypeVar("T")
_MEMBERS = {"_type", "subject", "predicateType", "predicate"}


def seal_in(payload: bytes) -> Seal:
    """Return the seal that a signed payload states. Step 6: refuse what is of another kind, newer, or at odds
    with itself."""
    found = _predicate(payload, PREDICATE_TYPE, "seal")
    manifest = found.get("manifest")
    _require_known(manifest.get("version") if isinstance(manifest, dict) else None, MANIFEST_VERSION, "seal")
    seal = _read(found, Seal, "seal")
    _require_whole(seal.manifest)
    _require_same(payload, payload_of(seal), "seal")
    return seal


def conversion_in(payload: bytes) -> Conversion:
    """Return the conversion that a signed payload states. Step 21, as step 6."""
    found = _predicate(payload, CONVERSION_TYPE, "conversion")
    _require_known(found.get("version"), CONVERSION_VERSION, "conversion")
    conversion = _read(found, Conversion, "conversion")
    came = [disk.id for disk in conversion.input]
    left = [disk.id for disk in conversion.output]
    if missing := [id_ for id_ in came if id_ not in left]:
        raise refused("conversion.disk.missing", disk=missing[0])
    if came != left or len(set(came)) != len(came):
        raise refused("conversion.statement.invalid", why="other disks came out than went in")
    _require_same(payload, conversion_payload(conversion), "conversion")
    return conversion


def _predicate(payload: bytes, kind: str, about: Subject) -> dict[str, JsonValue]:
    """Return the predicate of a statement of this type."""
    found = parsed(payload, f"{about}.statement.invalid")
    if not isinstance(found, dict) or set(found) != _MEMBERS or found["_type"] != STATEMENT_TYPE:
        raise refused(f"{about}.statement.invalid", why="it is no in-toto statement")
    if found["predicateType"] != kind:
        raise refused(f"{about}.statement.type", found=str(found["predicateType"])[:80])
    predicate = found["predicate"]
    if not isinstance(predicate, dict):
        raise refused(f"{about}.statement.invalid", why="it has no version")
    return predicate


def _require_known(version: JsonValue, known: int, about: Subject) -> None:
    """Look at the version first: what is newer may have other fields."""
    if not isinstance(version, int) or version < 1:
        raise refused(f"{about}.statement.invalid", why="it has no version")
    if version > known:
        raise refused(f"{about}.statement.newer", found=version, known=known)


def _read(predicate: dict[str, JsonValue], kind: type[T], about: Subject) -> T:
    try:
        return from_plain(predicate, kind)
    except errors.Invalid as error:
        raise refused(f"{about}.statement.invalid", why=f"{error.field}: {error.text}") from error


def _require_same(payload: bytes, written: bytes, about: Subject) -> None:
    """Refuse a payload that is not what its predicate is written as, subjects first."""
    if json.loads(payload)["subject"] != json.loads(written)["subject"]:
        raise refused(f"{about}.statement.subjects")
    if payload != written:
        raise refused(f"{about}.statement.invalid", why="it is written otherwise than Crossport writes it")


def _require_whole(manifest: Manifest) -> None:
    """Refuse a manifest that could be read in two ways."""
    seen: set[str] = set()
    names = [part.name for part in manifest.parts] + [disk.file for disk in manifest.disks if disk.file]
    names += [f"disk {disk.id}" for disk in manifest.disks] + [f"one {part.kind}" for part in manifest.parts]
    for name in names:
        # Some readers of packages take names that differ in case only for one.
        if name.casefold() in seen:
            raise refused("seal.manifest.repeated", name=name)
        seen.add(name.casefold())
    if manifest.part(PartKind.DESCRIPTOR) is None:
        raise refused("seal.manifest.incomplete", name="descriptor")
    for disk in manifest.disks:
        if bool(disk.file) != bool(disk.sha256):
            raise refused("seal.manifest.incomplete", name=f"digest of the file of disk {disk.id}")
