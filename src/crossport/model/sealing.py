"""What has to come together before a seal is signed: a gateway's claim, and the control plane's approval."""

from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = ["Approval", "Claim", "ClaimedDisk", "SealSignature", "SignedClaim"]


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
class SignedClaim:
    """The JSON of a claim and its signature, both base64, and the gateway's certificate (PEM)."""

    payload: str
    signature: str
    certificate: str


@record()
class Approval:
    """The control plane lets the images of one run of one gateway be sealed for one importer, once.

    ``nonce`` is that of the seal. ``mac`` is the hex HMAC-SHA256 of the rest.
    """

    run: str
    importer: str
    gateway: str
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    expires: float
    mac: str = ""


@record()
class SealSignature:
    """A signature (base64) of a seal's statement in DSSE's encoding, and the id of its key."""

    key: str
    signature: str
