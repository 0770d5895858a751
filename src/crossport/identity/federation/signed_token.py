"""Signed tokens (JWT, RFC 7519; JWS, RFC 7515): taken apart, and believed only by a key that fits them.

The algorithm is never the token's choice: it must be on the reader's list, and the key must be of the kind
that this algorithm has (RFC 8725, sections 3.1 and 3.2).
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from joserfc import jwk, jws
from joserfc.errors import JoseError

from crossport import errors
from crossport.model.federation import SigningAlgorithm
from crossport.model.record import record

__all__ = ["LONGEST", "PublicKey", "SignedToken", "keys_in", "taken_apart"]

LONGEST = 16 * 1024
KEYS_MAX = 64
RSA_BITS = 2048, 8192
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_SPOKEN = frozenset({"alg", "typ", "kid", "jwk", "x5t", "x5t#S256", "cty"})
"""Header fields that a reader here knows, or may pass over. A ``crit``, or a key by address, it may not."""

_KIND = {
    SigningAlgorithm.ES256: ("EC", "P-256"),
    SigningAlgorithm.ES384: ("EC", "P-384"),
    SigningAlgorithm.ED25519: ("OKP", "Ed25519"),
    SigningAlgorithm.PS256: ("RSA", ""),
    SigningAlgorithm.RS256: ("RSA", ""),
}
"""The type and curve of the only keys that each algorithm takes."""


@record()
class PublicKey:
    """A key that signatures are checked with. ``algorithm`` is the only one that it is for, or empty."""

    kid: str
    kind: tuple[str, str]
    algorithm: str
    key: Any

    def fits(self, algorithm: SigningAlgorithm) -> bool:
        """Say whether it can have signed by ``algorithm``."""
        return self.kind == _KIND[algorithm] and self.algorithm in ("", algorithm)

    def thumbprint(self) -> str:
        """Return the base64url SHA-256 that names the key (RFC 7638)."""
        return cast("str", self.key.thumbprint())


@record()
class SignedToken:
    """A token that nobody has believed yet: its ``header`` and ``claims`` are what it says of itself."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    def algorithm(self, allowed: Collection[SigningAlgorithm]) -> SigningAlgorithm:
        """Return how it is signed; raise Refused unless that is ``allowed``."""
        told = self.header.get("alg")
        for algorithm in allowed:
            if told == algorithm:
                return algorithm
        raise errors.Refused(
            "identity.token.algorithm",
            f"The token is signed by {str(told)[:20]!r}, which is not accepted of its issuer.",
            field="Authorization",
            remedy=f"Let the provider sign by one of: {', '.join(sorted(allowed))}.",
        )

    def check_type(self, types: Collection[str]) -> None:
        """Raise Refused unless the header calls the token one of ``types``."""
        told = str(self.header.get("typ", "")).lower().removeprefix("application/")
        if told not in {each.lower() for each in types}:
            raise errors.Refused(
                "identity.token.type",
                f"The token is of type {told[:20]!r}, not {' or '.join(types)}.",
                field="Authorization",
                remedy="Send an access token, not one for another use such as an ID token.",
            )

    def check_signed(self, algorithm: SigningAlgorithm, keys: Iterable[PublicKey]) -> PublicKey:
        """Return which of ``keys`` signed it; raise Refused when none of them can have, or none has."""
        kid = self.header.get("kid")
        named = [each for each in keys if kid is None or each.kid in ("", kid)]
        fitting = [each for each in named if each.fits(algorithm)]
        if named and not fitting:
            raise errors.Refused(
                "identity.key.unfit",
                f"The key that the token names is not one for {algorithm}.",
                field="Authorization",
                remedy="Get a new token; if it is refused too, the provider's keys are at fault.",
            )
        if not fitting or (kid is None and len(fitting) > 1):
            raise errors.Refused(
                "identity.key.unknown",
                "The token is signed with a key that its issuer does not publish (any more).",
                field="Authorization",
                remedy="Get a new token from the provider.",
            )
        for each in fitting:
            if _signed(self.text, algorithm, each):
                return each
        raise errors.Refused(
            "identity.token.signature",
            "The token's signature is wrong: it was not made by its issuer, or was changed since.",
            field="Authorization",
            remedy="Get a new token from the provider.",
        )


def taken_apart(text: str) -> SignedToken:
    """Return what ``text`` says, with nothing of it believed; raise Refused for what is no signed token."""
    if len(text) > LONGEST or not _FORM.fullmatch(text):
        raise _malformed()
    head, body, _ = text.split(".")
    header, claims = _object(head), _object(body)
    odd = sorted(header.keys() - _SPOKEN)
    if odd:
        raise errors.Refused(
            "identity.token.header",
            f"The token's header has {odd[0][:40]!r}, which is not accepted.",
            field="Authorization",
            remedy="Let the provider sign with a key that it publishes, without extensions.",
        )
    return SignedToken(text=text, header=header, claims=claims)


def keys_in(document: object) -> tuple[PublicKey, ...]:
    """Return the keys of a JWK set that tokens may be signed with; others in it are passed over.

    Raise Invalid for what is no JWK set.
    """
    entries = cast("Any", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(cast("list[Any]", entries)) > KEYS_MAX:
        raise errors.Invalid(
            "identity.provider.keys",
            "What the provider publishes as its keys is no JWK set, or a very long one.",
            field="jwks_uri",
            remedy="Correct it at the provider.",
        )
    found = [
        public_key(cast("dict[str, Any]", each))
        for each in cast("list[Any]", entries)
        if isinstance(each, dict)
    ]
    return tuple(key for key in found if key)


def public_key(entry: Mapping[str, Any]) -> PublicKey | None:
    """Return the key of a JWK (RFC 7517), None when it is none that signatures are checked with here."""
    kind = str(entry.get("kty", "")), str(entry.get("crv", ""))
    if kind not in _KIND.values() or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        key = jwk.import_key(dict(entry))
        bits = cast("Any", key).public_key.key_size if kind[0] == "RSA" else 0
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if bits and not RSA_BITS[0] <= bits <= RSA_BITS[1]:
        return None
    return PublicKey(kid=str(entry.get("kid", "")), kind=kind, algorithm=str(entry.get("alg", "")), key=key)


def _signed(text: str, algorithm: SigningAlgorithm, key: PublicKey) -> bool:
    try:
        jws.deserialize_compact(text, key.key, algorithms=[str(algorithm)])
    except (JoseError, ValueError):
        return False
    return True


def _object(part: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_once
        )
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(found, dict):
        raise _malformed()
    return cast("dict[str, Any]", found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, unless it says a thing twice: readers would differ about what it says."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _malformed() -> errors.Refused:
    return errors.Refused(
        "identity.token.malformed",
        f"This is no signed token of at most {LONGEST} characters.",
        field="Authorization",
        remedy="Send an access token as the provider gave it.",
    )
