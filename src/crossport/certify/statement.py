"""Read what was signed: the seal in a `crossport.model.statement`, which has to say that and nothing else."""

from pydantic import JsonValue

from crossport import errors
from crossport.certify.envelope import parsed
from crossport.certify.refusal import refused
from crossport.model.certified import MANIFEST_VERSION, Manifest, PartKind, Seal
from crossport.model.codec import from_plain
from crossport.model.statement import PREDICATE_TYPE, STATEMENT_TYPE, payload_of, subjects

__all__ = ["seal_in"]

_MEMBERS = {"_type", "subject", "predicateType", "predicate"}


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
    if found["subject"] != list(subjects(seal.manifest)):
        raise refused("seal.statement.subjects")
    if payload_of(seal) != payload:
        raise refused("seal.statement.invalid", why="it is written otherwise than Crossport writes it")
    return seal


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
