"""A certified image as data: what is in it, who certifies it for whom, and what an importer asks of it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = [
    "Check",
    "Digest",
    "Manifest",
    "Moment",
    "Outcome",
    "Part",
    "PartKind",
    "Seal",
    "SealedDisk",
    "Word",
    "MANIFEST_VERSION",
    "MAX_PART",
]

MANIFEST_VERSION = 1
MAX_PART = 64 << 20
"""Bytes of a file that is held in memory."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._ -]*$", max_length=100)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=0, le=1 << 63)]


class PartKind(StrEnum):
    """What a file of a certified image is, apart from its disks."""

    DESCRIPTOR = "descriptor"
    VARIABLES = "variables"
    """The UEFI variables."""
    TPM = "tpm"
    """The state of the virtual TPM."""
    SBOM = "sbom"
    """The guest's packages, CycloneDX JSON."""


class Outcome(StrEnum):
    """How a check of the exporting site ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_DONE = "not-done"


@record()
class Part:
    """One small file, by name, length and SHA-256."""

    kind: PartKind
    name: Name
    size: Annotated[int, Field(ge=0, le=MAX_PART)]
    sha256: Digest


@record()
class SealedDisk:
    """One disk, in the guest's order.

    ``size``, ``chunk_size`` and ``root`` (SHA-256 Merkle tree, RFC 9162) are of what the guest sees, however
    it is carried. The file in which a written package carries it has a name, a format, a length and a
    linear SHA-256; a disk that is streamed has none of these.
    """

    id: Word
    size: Annotated[int, Field(ge=1, le=1 << 63)]
    chunk_size: Annotated[int, Field(ge=1 << 16, le=1 << 24)]
    root: Digest
    file: Name | None = None
    format: str = ""
    file_size: Size = 0
    sha256: Digest | None = None


@record()
class Check:
    """What the exporting site looked at before it certified: ``name`` is a code, ``detail`` for people."""

    name: Word
    outcome: Outcome
    detail: str = ""


@record()
class Manifest:
    """All that belongs to a certified image. ``certificate`` is the SHA-256 of the X.509 certificate (DER) in
    the package's ``.cert``, where there is one."""

    version: int = MANIFEST_VERSION
    vm: Word
    parts: Annotated[tuple[Part, ...], Field(max_length=8)]
    disks: Annotated[tuple[SealedDisk, ...], Field(max_length=64)]
    checks: Annotated[tuple[Check, ...], Field(max_length=64)] = ()
    certificate: Digest | None = None

    def part(self, kind: PartKind) -> Part | None:
        """Return the part of this kind, None when there is none."""
        return next((part for part in self.parts if part.kind is kind), None)


@record()
class Seal:
    """What is signed: this image was exported by ``site`` from ``cloud``, in ``run``, for ``importer``.

    ``made`` and ``valid_until`` are Unix seconds; a ``nonce`` is used once.
    """

    site: Word
    cloud: Word
    importer: Word
    run: Word
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    made: Moment
    valid_until: Moment
    manifest: Manifest
