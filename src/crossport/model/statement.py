"""The statements that are signed of a certified image and of its conversion, in their only form. Pure.

An in-toto Statement v1 (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md): its predicate
is the seal, its subjects are the image's parts; or it is the conversion, and they are the converted disks. It
is signed in DSSE's encoding. Whoever signs and whoever verifies makes it from its predicate, and compares:
nothing can stand in one that is not in the other.
"""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from crossport.model.certified import Manifest, Seal
from crossport.model.codec import plain
from crossport.model.conversion import Conversion
from crossport.model.signature import signing_bytes

__all__ = [
    "CONVERSION_TYPE",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "canonical",
    "conversion_payload",
    "converted_subjects",
    "pae",
    "payload_of",
    "subjects",
]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:crossport:certified-image:v1"
CONVERSION_TYPE = "urn:crossport:guest-conversion:v1"
MERKLE = "rfc9162Sha256"
"""The digest of a disk in its subject: the root of its Merkle tree. The chunk size is in the predicate."""


def canonical(value: object) -> bytes:
    """Return the one JSON text of ``value``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def pae(payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding."""
    return signing_bytes(PAYLOAD_TYPE, payload)


def payload_of(seal: Seal) -> bytes:
    """Return the statement of ``seal``."""
    return _payload(PREDICATE_TYPE, subjects(seal.manifest), seal)


def conversion_payload(conversion: Conversion) -> bytes:
    """Return the statement of ``conversion``."""
    return _payload(CONVERSION_TYPE, converted_subjects(conversion), conversion)


def subjects(manifest: Manifest) -> Iterator[JsonValue]:
    """Yield what the statement is about: each part, and each disk, with its digests."""
    for part in manifest.parts:
        yield {"name": part.name, "digest": {"sha256": part.sha256}}
    for disk in manifest.disks:
        digests: dict[str, JsonValue] = {MERKLE: disk.root}
        if disk.sha256:
            digests["sha256"] = disk.sha256
        yield {"name": disk.file or disk.id, "digest": digests}


def converted_subjects(conversion: Conversion) -> Iterator[JsonValue]:
    """Yield what the statement is about: each disk that came out."""
    for disk in conversion.output:
        yield {"name": disk.id, "digest": {MERKLE: disk.root}}


def _payload(kind: str, about: Iterator[JsonValue], predicate: Seal | Conversion) -> bytes:
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": list(about),
            "predicateType": kind,
            "predicate": plain(predicate),
        }
    )
