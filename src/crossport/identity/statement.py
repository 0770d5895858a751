"""Statements between sites, signed: what the signer lets through, and when a partner's is believed. Pure."""

import base64
import binascii
from dataclasses import dataclass

from crossport import errors
from crossport.model import codec
from crossport.model.keyring import Key, KeyRole
from crossport.model.permit import SignedStatement, Stated, Statement
from crossport.model.role import RoleDocument
from crossport.model.signature import is_signed, signing_bytes
from crossport.spi.signer import Signer

__all__ = ["VERSION", "Between", "believed", "judged", "payload_of", "signed"]

VERSION = 1
PAYLOAD_TYPE = "application/vnd.crossport.statement+json"


@dataclass(frozen=True, slots=True)
class Between:
    """What a statement has to be about: by which site, to which one, and in which run of which initiator."""

    site: str
    to: str
    initiator: str
    run: str


def payload_of(stated: Stated) -> bytes:
    """Return what is signed of a statement, as bytes."""
    return codec.encoded(stated).encode()


def judged(payload: bytes, site: str) -> Stated:
    """Return what the payload states; raise Refused unless ``site`` may state it. The signer asks this."""
    try:
        stated = codec.decoded(payload, Stated)
    except errors.Invalid as error:
        raise _unsigned("signer.statement.malformed", "What shall be signed is no statement.") from error
    if stated.version != VERSION:
        raise _unsigned("signer.statement.malformed", "What shall be signed is a statement of another form.")
    if stated.statement.site != site:
        raise _unsigned("signer.statement.other", f"It is a statement of site {stated.statement.site}.")
    if stated.to in {"", site} or not stated.statement.run:
        raise _unsigned("signer.statement.other", "It names no partner and no run.")
    return stated


def signed(payload: bytes, signer: Signer) -> SignedStatement:
    """Return the payload with the signature of ``signer``."""
    signature = signer.sign(signing_bytes(PAYLOAD_TYPE, payload))
    return SignedStatement(payload=_text(payload), key=signer.key_id, signature=_text(signature))


def believed(said: SignedStatement, document: RoleDocument, between: Between, now: float) -> Statement:
    """Return the statement, if a key that ``document`` lists for it signed just this.

    Raise Refused with a ``permit.…`` code of its own for each reason against it, Conflict
    ``permit.form.newer`` for one that a newer Crossport wrote.
    """
    key = _key(said.key, document, now)
    try:
        payload = base64.b64decode(said.payload, validate=True)
        signature = base64.b64decode(said.signature, validate=True)
    except binascii.Error as error:
        raise _refused("permit.statement.malformed", "It is no base64.", between) from error
    if not is_signed(key.der(), signing_bytes(PAYLOAD_TYPE, payload), signature):
        raise _refused("permit.signature.wrong", "Its signature is not by the key it names.", between)
    return _about(payload, between)


def _key(wanted: str, document: RoleDocument, now: float) -> Key:
    for key in document.keys:
        if key.id() == wanted and key.role is KeyRole.PERMIT:
            if key.revoked is None and key.valid_from <= now < key.valid_until:
                return key
            raise errors.Refused(
                "permit.key.over",
                f"The key {wanted} of site {document.site} is revoked, or not good now.",
                remedy="Nothing was decided. Let that site state it anew, with the key that it has now.",
            )
    raise errors.Refused(
        "permit.key.unknown",
        f"Site {document.site} does not list {wanted} as a key for statements.",
        remedy="Nothing was decided. If that site has a new key, its role document comes with time.",
    )


def _about(payload: bytes, between: Between) -> Statement:
    try:
        stated = codec.decoded(payload, Stated)
    except errors.Invalid as error:
        raise _refused("permit.statement.malformed", "It has not the form of one.", between) from error
    if stated.version > VERSION:
        raise errors.Conflict(
            "permit.form.newer", "The statement is of a newer Crossport.", remedy=errors.SAME_RELEASE
        )
    found = Between(stated.statement.site, stated.to, stated.initiator, stated.statement.run)
    if found != between:
        raise _refused(
            "permit.statement.other",
            f"It was made by {found.site} to {found.to}, in run {found.run} of {found.initiator}.",
            between,
        )
    return stated.statement


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _unsigned(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The signer does not sign this. {text}",
        remedy="Nothing was signed. Look for who else may have asked the signer.",
    )


def _refused(code: str, text: str, between: Between) -> errors.Refused:
    return errors.Refused(
        code,
        f"The statement of {between.site} in run {between.run} is not believed. {text}",
        remedy="Nothing was decided. Both operators look at the run: crossport run show RUN",
    )
