"""What is signed: an in-toto Statement v1. Its predicate is the seal, its subjects are the image's parts.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from collections.abc import Iterator

from pydantic import JsonValue

from crossport import errors
from crossport.certify.envelope import canonical, parsed
from crossport.certify.refusal import refused
from crossport.model.certified import MANIFEST_VERSION, Manifest, PartKind, Seal
from crossport.model.codec import from_plain, plain

__all__ = ["PREDICATE_TYPE", "payload_of", "seal_in"]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:crossport:certified-image:v1"
MERKLE = "rfc9162Sha256"
"""The digest of a disk in its subject: the root of its Merkle tree. The chunk size is in the predicate."""
_MEMBERS = {"_type", "subject", "predicateType", "predicate"}


def payload_of(seal: Seal) -> bytes:
    """Return the statement of ``seal``, in its only form."""
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": list(_subjects(seal.manifest)),
            "predicateType": PREDICATE_TYPE,
            "predicate": plain(seal),
        }
    )


def seal_in(payload: bytes) -> Seal:
    """Return the seal that a signed payload states. Step 6: refuse what is of another kind, newer, or at odds
    with itself."""
    found = parsed(payload, "seal.statement.invalid")
    if not isinstance(found, dict) or set(found) != _MEMBERS or found["_type"] != STATEMENT_TYPE:
        raise refused("seal.statement.invalid", why="it is no in-toto statement")
    if found["predicateType"] != PREDICATE_TYPE:
        raise refused("seal.statement.type", found=str(found["predicateType"])[:80])
    _require_known(found["predicate"])
    try:
        seal = from_plain(found["predicate"], Seal)
    except errors.Invalid as error:
        raise refused("seal.statement.invalid", why=f"{error.field}: {error.text}") from error
    _require_whole(seal.manifest)
    if found["subject"] != list(_subjects(seal.manifest)):
        raise refused("seal.statement.subjects")
    if payload_of(seal) != payload:
        raise refused("seal.statement.invalid", why="it is written otherwise than Crossport writes it")
    return seal


def _subjects(manifest: Manifest) -> Iterator[JsonValue]:
    for part in manifest.parts:
        yield {"name": part.name, "digest": {"sha256": part.sha256}}
    for disk in manifest.disks:
        digests: dict[str, JsonValue] = {MERKLE: disk.root}
        if disk.sha256:
            digests["sha256"] = disk.sha256
        yield {"name": disk.file or disk.id, "digest": digests}


def _require_known(predicate: JsonValue) -> None:
    """Look at the version first: what is newer may have other fields."""
    manifest = predicate.get("manifest") if isinstance(predicate, dict) else None
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or version < 1:
        raise refused("seal.statement.invalid", why="it has no version")
    if version > MANIFEST_VERSION:
        raise refused("seal.statement.newer", found=version, known=MANIFEST_VERSION)


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
