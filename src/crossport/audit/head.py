"""Heads: how they are signed, when they are believed, and which may follow which."""

import base64
import binascii
from collections.abc import Sequence

from crossport import errors
from crossport.audit.tree import grew
from crossport.model import codec
from crossport.model.head import Head, HeadKind, SignedHead, Witnessed
from crossport.model.keyring import Key, Keyring, KeyRole
from crossport.model.signature import is_signed, signing_bytes
from crossport.spi.signer import Signer

__all__ = ["CLOCKS_S", "believed", "head_of", "judge", "signed"]

TYPES = {
    HeadKind.OWN: "application/vnd.crossport.audit-head+json",
    HeadKind.WITNESS: "application/vnd.crossport.audit-witness+json",
}
CLOCKS_S = 300.0
"""How far two clocks may be apart."""


def signed(what: Head | Witnessed, signer: Signer) -> SignedHead:
    """Return a head, or that it was seen, with the signature of ``signer``."""
    kind = HeadKind.OWN if isinstance(what, Head) else HeadKind.WITNESS
    payload = codec.encoded(what).encode()
    return SignedHead(
        kind=kind,
        payload=_text(payload),
        key=signer.key_id,
        signature=_text(signer.sign(signing_bytes(TYPES[kind], payload))),
    )


def head_of(told: SignedHead) -> tuple[Head, str]:
    """Return the head and who signed that it is so. Nothing is proven by that: see `believed`."""
    payload = _bytes(told.payload)
    try:
        if told.kind is HeadKind.OWN:
            head = codec.decoded(payload, Head)
            return head, head.site
        seen = codec.decoded(payload, Witnessed)
    except errors.Invalid as error:
        raise _refused("audit.head.malformed", "What was signed is no head.") from error
    return seen.head, seen.witness


def believed(told: SignedHead, keys: Keyring) -> Head:
    """Return the head, when an audit key of whoever says so signed it.

    The key has to be good at the time that was signed, and not be revoked since. Raise Refused with an
    ``audit.head.…`` code of its own for each reason against it.
    """
    head, signer = head_of(told)
    payload = _bytes(told.payload)
    at = head.time if told.kind is HeadKind.OWN else codec.decoded(payload, Witnessed).time
    key = _key(told.key, signer, keys)
    if key.revoked is not None or not key.valid_from <= at < key.valid_until:
        raise _refused("audit.head.key", f"The key {told.key} of {signer} is revoked, or was not good then.")
    if not is_signed(key.der(), signing_bytes(TYPES[told.kind], payload), _bytes(told.signature)):
        raise _refused("audit.head.signature", f"{signer} did not sign it.")
    return head


def judge(last: Head | None, head: Head, proof: Sequence[str]) -> None:
    """Raise Refused unless ``head`` may follow ``last``: it is no smaller, and no other log.

    ``proof`` (hex) shows that it continues the log of ``last``.
    """
    if last is None:
        return
    if head.size < last.size:
        raise _refused(
            "audit.head.smaller",
            f"The log of {head.site} has {head.size} records; it had {last.size} before: it was cut.",
        )
    hashes = [bytes.fromhex(each) for each in proof]
    before, now = (last.size, bytes.fromhex(last.root)), (head.size, bytes.fromhex(head.root))
    if not grew(before, now, hashes):
        raise _refused(
            "audit.head.forked",
            f"The log of {head.site} does not continue the one of which {last.size} records are known: "
            "it was rewritten, or there are two.",
        )
    if head.time < last.time - CLOCKS_S:
        raise _refused(
            "audit.head.clock",
            f"It is from {last.time - head.time:.0f} s before the one that it follows: a clock was moved.",
        )


def _key(wanted: str, site: str, keys: Keyring) -> Key:
    for key in keys.named(wanted):
        if key.site == site and key.role is KeyRole.AUDIT:
            return key
    raise _refused("audit.head.key", f"{wanted} is not known as an audit key of {site}.")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _refused("audit.head.malformed", "It holds something that is no base64.") from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The head of the audit log is not believed. {text}",
        remedy="Export the log and check it with the heads that partners keep: crossport audit verify",
    )
