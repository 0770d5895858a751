"""The statement that is signed of a certified image, in its only form. Pure.

An in-toto Statement v1 (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md): its predicate
is the seal, its subjects are the image's parts. It is signed in DSSE's encoding. Whoever signs and whoever
verifies makes it from the seal, and compares: nothing can stand in one that is not in the other.
"""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from crossport.model.certified import Manifest, Seal
from crossport.model.codec import plain
from crossport.model.signature import signing_bytes

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "STATEMENT_TYPE", "canonical", "pae", "payload_of", "subjects"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:crossport:certified-image:v1"
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
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": list(subjects(seal.manifest)),
            "predicateType": PREDICATE_TYPE,
            "predicate": plain(seal),
        }
    )


def subjects(manifest: Manifest) -> Iterator[JsonValue]:
    """Yield what the statement is about: each part, and each disk, with its digests."""
    for part in manifest.parts:
        yield {"name": part.name, "digest": {"sha256": part.sha256}}
    for disk in manifest.disks:
        digests: dict[str, JsonValue] = {MERKLE: disk.root}
        if disk.sha256:
            digests["sha256"] = disk.sha256
        yield {"name": disk.file or disk.id, "digest": digests}
