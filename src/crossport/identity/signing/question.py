"""What the signer is asked and what it answers, and the frames in which both cross its socket.

A frame is four bytes of length, big-endian, and JSON. A connection carries one question and one answer.
"""

from typing import Annotated, Literal

from pydantic import Field

from crossport import errors
from crossport.model import codec
from crossport.model.conversion import ConversionApproval, ConversionProof
from crossport.model.failure import Failure
from crossport.model.head import Head
from crossport.model.record import record
from crossport.model.role import RevokeRequest, RotateRequest
from crossport.model.sealing import Approval
from crossport.model.signed_claim import SignedClaim

__all__ = [
    "Answer",
    "AskConversion",
    "AskHead",
    "AskKeys",
    "AskRevoke",
    "AskRotate",
    "AskSeal",
    "AskStatement",
    "HEAD",
    "Question",
    "framed",
    "size_in",
]

VERSION = 1
HEAD = 4
MAX_FRAME = 2 << 20


@record()
class AskKeys:
    """Return the role document."""

    do: Literal["keys"] = "keys"


@record()
class AskRotate:
    """List a new key. ``version`` is the document that the asker knows: what is asked twice is done once."""

    do: Literal["rotate"] = "rotate"
    request: RotateRequest
    version: int


@record()
class AskRevoke:
    """Revoke a key, as `AskRotate` says."""

    do: Literal["revoke"] = "revoke"
    request: RevokeRequest
    version: int


@record()
class AskSeal:
    """Sign a seal's statement (base64), which `crossport.identity.signing.seal_judge` judges."""

    do: Literal["seal"] = "seal"
    approval: Approval
    claims: Annotated[tuple[SignedClaim, ...], Field(min_length=1, max_length=64)]
    payload: str


@record()
class AskConversion:
    """Sign a conversion's statement (base64), which `crossport.identity.signing.conversion_judge` judges."""

    do: Literal["conversion"] = "conversion"
    approval: ConversionApproval
    proof: ConversionProof
    payload: str


@record()
class AskStatement:
    """Sign a statement to a partner (base64 of a `Stated`), as `crossport.identity.statement` judges it."""

    do: Literal["statement"] = "statement"
    payload: str


@record()
class AskHead:
    """Sign a head of the site's audit log; or countersign that of a partner, which has been believed.

    ``proof`` (hex) shows that it continues the log of which ``since`` records are known. Where the signer
    signed last for another size, it answers with that instead, to be asked again with the proof since then.
    """

    do: Literal["head"] = "head"
    head: Head
    since: int
    proof: Annotated[tuple[str, ...], Field(max_length=128)] = ()


@record()
class Question:
    """One question to the signer."""

    version: int = VERSION
    ask: Annotated[
        AskKeys | AskRotate | AskRevoke | AskSeal | AskConversion | AskStatement | AskHead,
        Field(discriminator="do"),
    ]


@record()
class Answer:
    """What was asked for, as base64; or why not."""

    value: str = ""
    failure: Failure | None = None


def framed(message: Question | Answer) -> bytes:
    """Return a message as one frame."""
    content = codec.encoded(message).encode()
    return len(content).to_bytes(HEAD, "big") + content


def size_in(head: bytes) -> int:
    """Return how long the content of a frame is; raise Invalid ``signer.frame.malformed`` when too long."""
    size = int.from_bytes(head, "big")
    if size > MAX_FRAME:
        raise errors.Invalid(
            "signer.frame.malformed",
            f"A frame has {MAX_FRAME} bytes at most, not {size}.",
            remedy=errors.SAME_RELEASE,
        )
    return size
