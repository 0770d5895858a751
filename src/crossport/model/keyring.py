"""Which keys are trusted for what: the public half of every key that a site may have signed with.

A key signs for one site in one role, between two moments, and not after it was revoked. Its id is the digest
of the key itself, so that no two keys share one and none can be passed off under another's.
"""

import base64
import binascii
import hashlib
from enum import StrEnum

from crossport.model.record import record

__all__ = ["Algorithm", "KeyRole", "Key", "Keyring", "key_id"]


class Algorithm(StrEnum):
    """How a key signs. The key decides it, never what was signed."""

    ECDSA_P256 = "ecdsa-p256-sha256"
    ED25519 = "ed25519"


class KeyRole(StrEnum):
    """What a key may sign; one that signs in two roles is two keys."""

    SEAL = "seal"
    AUDIT = "audit"
    TICKET = "ticket"
    PERMIT = "permit"
    """The statements to partners by which a run decides who may start its VM."""
    CA = "ca"


def key_id(public_key: bytes) -> str:
    """Return the id of a public key (SubjectPublicKeyInfo, DER): its SHA-256 in hex."""
    return hashlib.sha256(public_key).hexdigest()


@record()
class Key:
    """A public key: base64 of its SubjectPublicKeyInfo (DER). Times are Unix seconds.

    It is good from ``valid_from`` until before ``valid_until``. From ``revoked`` on, what it
    signed is not believed, whenever that was: who holds a stolen key writes any time into what it signs.
    """

    public_key: str
    algorithm: Algorithm
    site: str
    role: KeyRole
    valid_from: float
    valid_until: float
    revoked: float | None = None

    def der(self) -> bytes:
        """Return the SubjectPublicKeyInfo; empty when ``public_key`` is no base64."""
        try:
            return base64.b64decode(self.public_key, validate=True)
        except binascii.Error:
            return b""

    def id(self) -> str:
        """Return the key's id."""
        return key_id(self.der())


@record()
class Keyring:
    """All keys that somebody trusts, their own and their partners'."""

    keys: tuple[Key, ...] = ()

    def named(self, wanted: str) -> tuple[Key, ...]:
        """Return what is known of the key with this id: of several sites each may say that it is theirs."""
        return tuple(key for key in self.keys if key.id() == wanted)
