"""The envelope around what is signed: DSSE v1, with exactly one signature, in one form only.

Two envelopes that say the same are the same bytes: members in order, no white space, the one base64. So no
bit of it can be changed without being seen. https://github.com/secure-systems-lab/dsse
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from crossport.certify.refusal import refused
from crossport.model.record import record
from crossport.model.statement import PAYLOAD_TYPE, canonical, pae
from crossport.spi.signer import Signer

__all__ = ["MAX_ENVELOPE", "Envelope", "Subject", "closed", "opened", "parsed", "wrapped"]

MAX_ENVELOPE = 1 << 20
Subject: TypeAlias = Literal["seal", "conversion"]
"""What is signed: the codes of its refusals begin with it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope whose signature nobody has checked yet."""

    payload: bytes
    key_id: str
    signature: bytes


@record()
class _Signature:
    keyid: str
    sig: str


@record()
class _Form:
    payload: str
    payload_type: Annotated[str, Field(alias="payloadType")]
    signatures: tuple[_Signature, ...]


_FORM = TypeAdapter(_Form)


def wrapped(payload: bytes, signer: Signer) -> bytes:
    """Return the envelope of ``payload``, signed."""
    return closed(Envelope(payload, signer.key_id, signer.sign(pae(payload))))


def opened(text: bytes, about: Subject = "seal") -> Envelope:
    """Return what the envelope holds. Steps 2 and 18: whatever is not of the one form is refused.

    ``about`` says what is in it, and begins the codes.
    """
    invalid = f"{about}.envelope.invalid"
    try:
        form = _FORM.validate_python(parsed(text, invalid))
    except ValidationError as error:
        raise refused(invalid, why="its members are not those of DSSE") from error
    if form.payload_type != PAYLOAD_TYPE:
        raise refused(f"{about}.envelope.type", found=form.payload_type[:80])
    if len(form.signatures) != 1:
        raise refused(f"{about}.signature.count", count=len(form.signatures))
    (signature,) = form.signatures
    envelope = Envelope(_bytes(form.payload, invalid), signature.keyid, _bytes(signature.sig, invalid))
    if closed(envelope) != text:
        raise refused(invalid, why="it is written otherwise than Crossport writes it")
    return envelope


def parsed(text: bytes, code: str) -> JsonValue:
    """Return the JSON value of ``text``; refuse by ``code`` what is none or too long."""
    if len(text) > MAX_ENVELOPE:
        raise refused(code, why=f"it is longer than {MAX_ENVELOPE} bytes")
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(code, why="it is no JSON") from error
    return value


def closed(envelope: Envelope) -> bytes:
    """Return the one text of an envelope."""
    return canonical(
        {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": envelope.key_id, "sig": base64.b64encode(envelope.signature).decode()}],
        }
    )


def _bytes(text: str, code: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise refused(code, why="it holds something that is no base64") from error
