"""What signs: a private key that never leaves where it is kept."""

from typing import Protocol

from crossport.model.keyring import Algorithm

__all__ = ["Signer"]


class Signer(Protocol):
    """One private key. Thread-safe. ``key_id`` is `crossport.model.keyring.key_id` of its public half."""

    @property
    def key_id(self) -> str:
        """The key's id."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        ...

    def public_key(self) -> bytes:
        """Return the public half as SubjectPublicKeyInfo, DER."""
        ...

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of ``payload``: 64 bytes for Ed25519; for ECDSA, DER of (r, s)
        with the lower s.

        May be called any number of times. Raise Refused when the key may not sign this, Unavailable when
        it cannot be reached now.
        """
        ...
