"""Keys in a hardware module, by PKCS#11. Nothing else imports its library, which is an extra of the package.

A session that broke is opened anew at the next signature: a module that was away comes back by itself.
"""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn

from crossport import errors
from crossport.identity.signature import wrong_kind
from crossport.model.keyring import Algorithm
from crossport.spi.secret import Secret

__all__ = ["TokenKey", "TokenPlace"]

_COORDINATE = 32
_POINT = 1 + 2 * _COORDINATE
# Both curves have points shorter than 128 bytes: their OCTET STRING has two bytes of head.
_HEAD = 2
_P256 = bytes.fromhex("06082a8648ce3d030107")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Where the key is: the module's library, the token's label, the label of both halves, and the PIN."""

    library: Path
    token: str
    label: str
    pin: Secret


class TokenKey:
    """A key of a token: an `crossport.identity.outside_signer.OutsideKey`. The session stays open."""

    def __init__(self, place: TokenPlace) -> None:
        self.name = f"the key {place.label} of token {place.token}"
        self._place = place
        self._session: pkcs11.Session | None = None
        self._using = threading.Lock()

    def public_key(self) -> bytes:
        """Return the public half; raise Refused for a key of another kind, Unavailable without the token."""
        with self._using:
            try:
                found = self._opened().get_key(object_class=ObjectClass.PUBLIC_KEY, label=self._place.label)
                kind, curve = found.key_type, bytes(found[Attribute.EC_PARAMS])
                point = bytes(found[Attribute.EC_POINT])[_HEAD:]
            except PKCS11Error as error:
                raise self._away(error) from error
        return _encoded(kind, curve, point, self.name)

    def sign(self, payload: bytes, algorithm: Algorithm) -> bytes:
        """Return the token's signature; the payload is digested here for ECDSA."""
        with self._using:
            try:
                # What a key can do is mixed in when the token says so; its type here has none of it.
                key: Any = self._opened().get_key(
                    object_class=ObjectClass.PRIVATE_KEY, label=self._place.label
                )
                if algorithm is Algorithm.ED25519:
                    return bytes(key.sign(payload, mechanism=Mechanism.EDDSA))
                pair = bytes(key.sign(hashlib.sha256(payload).digest(), mechanism=Mechanism.ECDSA))
            except PKCS11Error as error:
                raise self._away(error) from error
        r, s = pair[:_COORDINATE], pair[_COORDINATE:]
        return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))

    def _opened(self) -> pkcs11.Session:
        if self._session is None:
            token = pkcs11.lib(str(self._place.library)).get_token(token_label=self._place.token)
            try:
                self._session = token.open(user_pin=self._place.pin.reveal())
            except UserAlreadyLoggedIn:
                # By another key of the same token: a login is the process's, not the session's.
                self._session = token.open()
        return self._session

    def _away(self, error: PKCS11Error) -> errors.Unavailable:
        """Return what is said of a token that does not do it, and forget the session."""
        self._session = None
        said = str(error) or type(error).__name__
        return errors.Unavailable(
            "signer.token.away",
            f"{self.name} cannot be used: {said}.",
            field="key",
            remedy="Look whether the module is there, and its library, the labels and the PIN are right.",
        )


def _encoded(kind: KeyType, curve: bytes, point: bytes, name: str) -> bytes:
    """Return a public key as a SubjectPublicKeyInfo; raise Refused for another kind than the two."""
    try:
        if kind is KeyType.EC_EDWARDS:
            key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
            key = ed25519.Ed25519PublicKey.from_public_bytes(point)
        elif kind is KeyType.EC and curve == _P256 and len(point) == _POINT:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        else:
            raise wrong_kind(name)
    except ValueError as error:
        raise wrong_kind(name) from error
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
