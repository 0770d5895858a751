"""What has to come together before a seal is signed, and what becomes of it at the importer."""

from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = [
    "Admission",
    "Approval",
    "Claim",
    "ClaimedDisk",
    "Passed",
    "SealSignature",
    "SealedImage",
]


@record()
class ClaimedDisk:
    """A disk as the gateway read it: its size, and the root of its Merkle tree."""

    id: str
    size: int
    chunk_size: int
    root: str


@record()
class Claim:
    """What a gateway read for a run."""

    version: int = 1
    site: str
    run: str
    disks: Annotated[tuple[ClaimedDisk, ...], Field(max_length=64)]


@record()
class Approval:
    """The control plane lets what ``gateways`` read for one run be sealed for one importer, once.

    ``nonce`` is that of the seal. ``mac`` is the hex HMAC-SHA256 of the rest.
    """

    run: str
    importer: str
    gateways: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    expires: float
    mac: str = ""


@record()
class SealSignature:
    """A signature (base64) of a seal's statement in DSSE's encoding, and the id of its key."""

    key: str
    signature: str


@record()
class SealedImage:
    """What goes with the disks of a run: the seal's envelope, the descriptor and the SBOM, each base64.

    The SBOM is empty where there is none.
    """

    envelope: str
    descriptor: str
    sbom: str = ""


@record()
class Passed:
    """A numbered step of the verification of a certified image that found nothing wrong, in words."""

    step: int
    text: str


@record()
class Admission:
    """A certified image that the target's site verified: who sealed it, with which key, what was checked.

    ``made`` is when it was sealed, ``admitted`` when it was verified, in Unix seconds. ``importer`` is the
    target's site, and ``generation`` says which of its import policies held (0: the one that it begins with).
    """

    site: str
    key: str
    made: float
    steps: tuple[Passed, ...]
    importer: str = ""
    admitted: float = 0.0
    generation: int = 0
