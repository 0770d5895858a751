"""Heads of audit logs: what a site signs of its log from time to time, and its partners countersign."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.audit import KeptRecord
from crossport.model.record import record

__all__ = ["AuditProof", "Head", "HeadKind", "HeadMessage", "SignedHead", "Witnessed"]

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HeadKind(StrEnum):
    """Who signed: the log's own site, or a partner who has seen the head."""

    OWN = "own"
    WITNESS = "witness"


@record()
class Head:
    """The log of ``site`` has ``size`` records under ``root`` (hex) at ``time`` (Unix seconds)."""

    version: int = 1
    site: str
    size: Annotated[int, Field(ge=0)]
    root: Digest
    time: float


@record()
class Witnessed:
    """``witness`` has seen ``head`` at ``time``, and that it continues the one that it saw before."""

    version: int = 1
    witness: str
    time: float
    head: Head


@record()
class SignedHead:
    """A `Head`, or a `Witnessed` one, as its JSON was signed: payload and signature in base64."""

    kind: HeadKind
    payload: Annotated[str, Field(max_length=4096)]
    key: str
    signature: Annotated[str, Field(max_length=1024)]


@record()
class HeadMessage:
    """What two sites tell one another of their logs.

    ``head`` is the sender's, and ``proof`` (hex) shows that it continues the ``known`` records of which the
    receiver has kept a head. ``since`` is how many records of the receiver the sender knows. ``seen`` is the
    sender's countersignature on the receiver's head. ``again`` asks for the proof from another size.
    """

    version: int = 1
    head: SignedHead | None = None
    known: Annotated[int, Field(ge=0)] = 0
    proof: Annotated[tuple[Digest, ...], Field(max_length=128)] = ()
    since: Annotated[int, Field(ge=0)] = 0
    seen: SignedHead | None = None
    again: int | None = None


@record()
class AuditProof:
    """A record, and the path (hex) that shows that it is one of ``size`` under ``root``."""

    record: KeptRecord
    number: int
    size: int
    root: Digest
    path: tuple[Digest, ...]
