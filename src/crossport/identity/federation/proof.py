"""Proofs that whoever sends a request has a key (DPoP, RFC 9449): for this request alone, and once.

A proof that was seen is kept until it would be too old anyway, where all nodes of the site look.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from crossport import errors
from crossport.identity.federation.signed_token import SignedToken, public_key, taken_apart
from crossport.model.federation import SigningAlgorithm
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents

__all__ = ["Asked", "Proofs"]

WINDOW_S = 60.0
"""How far the time in a proof may be from this site's, to either side."""
KEPT_S = 300.0
TYPE = "dpop+jwt"
KIND = "seen-proof"
LONGEST_ID = 255
PORTS = {"http": 80, "https": 443}


@record()
class Asked:
    """The request that a proof must be for. ``token`` is the access token that comes with it, if one does."""

    method: str
    url: str
    token: str = ""


class Proofs:
    """Checks proofs, and remembers them."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def key_of(self, text: str, asked: Asked) -> str:
        """Return the thumbprint of the key that the proof is by; raise Refused for what is wrong with it."""
        proof = _signed(text)
        _check_request(proof.claims, asked)
        now = self._clock.wall()
        made = proof.claims.get("iat")
        if isinstance(made, bool) or not isinstance(made, int | float) or abs(now - made) > WINDOW_S:
            raise errors.Refused(
                "identity.proof.time",
                "The DPoP proof was not made in this minute.",
                field="DPoP",
                remedy="Make a new proof for each request; correct your clock.",
            )
        key = _key(proof)
        await self._once(proof, key, now)
        return key

    async def _once(self, proof: SignedToken, key: str, now: float) -> None:
        """Note the proof; raise Refused when it was noted before."""
        name = proof.claims.get("jti")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
            raise _unsound("It has no sound claim 'jti'.")
        digest = hashlib.sha256(f"{key}\n{name}".encode()).hexdigest()
        try:
            await self._documents.put(KIND, f"{int(proof.claims['iat']):012d}-{digest}", "", generation=0)
        except errors.Conflict as error:
            raise errors.Refused(
                "identity.proof.replayed",
                "The DPoP proof was used before.",
                field="DPoP",
                remedy="Make a new proof for each request.",
            ) from error
        await self._forget(f"{int(now - KEPT_S):012d}")

    async def _forget(self, before: str) -> None:
        """Forget some proofs that are too old to be sent again."""
        for each in await self._documents.list(KIND, str, limit=8):
            if each.key < before:
                await self._documents.delete(KIND, each.key)


def _signed(text: str) -> SignedToken:
    """Return what a proof says, signed by the key in its header."""
    if not text:
        raise errors.Refused(
            "identity.proof.missing",
            "The request has no DPoP proof.",
            field="DPoP",
            remedy="Send a proof by the token's key in the header DPoP (RFC 9449).",
        )
    try:
        proof = taken_apart(text)
        proof.check_type([TYPE])
        algorithm = proof.algorithm(tuple(SigningAlgorithm))
        key = public_key(proof.header["jwk"]) if isinstance(proof.header.get("jwk"), dict) else None
        if key is None:
            raise _unsound("It has no public key that is accepted.")
        proof.check_signed(algorithm, [key])
    except errors.Refused as error:
        raise _unsound(error.text) from error
    return proof


def _key(proof: SignedToken) -> str:
    key = public_key(cast("Mapping[str, Any]", proof.header["jwk"]))
    return key.thumbprint() if key else ""


def _check_request(claims: Mapping[str, Any], asked: Asked) -> None:
    if claims.get("htm") != asked.method or _plain(str(claims.get("htu", ""))) != _plain(asked.url):
        raise errors.Refused(
            "identity.proof.request",
            "The DPoP proof is for another request.",
            field="DPoP",
            remedy="Make it for this method and address: htm and htu.",
        )
    if not asked.token:
        return
    digest = hashlib.sha256(asked.token.encode()).digest()
    if claims.get("ath") != base64.urlsafe_b64encode(digest).decode().rstrip("="):
        raise errors.Refused(
            "identity.proof.token",
            "The DPoP proof is for another token.",
            field="DPoP",
            remedy="Make it for the token that comes with it: ath.",
        )


def _plain(url: str) -> tuple[str, str, int, str]:
    """Return what makes two addresses the same (RFC 9449, section 4.3): no query, and the usual port."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", url, 0, ""
    return parts.scheme, (parts.hostname or ""), port, parts.path or "/"


def _unsound(why: str) -> errors.Refused:
    return errors.Refused(
        "identity.proof.unsound",
        f"The DPoP proof is none: {why}",
        field="DPoP",
        remedy="Make it as RFC 9449, section 4.2 says, with a key of which the header has the public part.",
    )
