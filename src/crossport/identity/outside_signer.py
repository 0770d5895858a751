"""A signer whose key lies elsewhere: what a hardware module or a service has in common.

The public key is read once, and every signature is checked against it before anybody gets it: a module that
was set up wrongly, or that hands out something else, is found here and not at a partner.
"""

from typing import Protocol

from crossport import errors
from crossport.identity.signature import wrong_kind
from crossport.model.keyring import Algorithm, key_id
from crossport.model.signature import algorithm_of, is_signed, only_form

__all__ = ["OutsideKey", "OutsideSigner"]


class OutsideKey(Protocol):
    """One key somewhere else. Thread-safe. Both calls raise Unavailable when it cannot be reached."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def public_key(self) -> bytes:
        """Return the public half (SubjectPublicKeyInfo, DER)."""
        ...

    def sign(self, payload: bytes, algorithm: Algorithm) -> bytes:
        """Return a signature of ``payload``."""
        ...


class OutsideSigner:
    """A `crossport.spi.signer.Signer` with a key that lies elsewhere."""

    def __init__(self, key: OutsideKey) -> None:
        """Read the public half; raise Refused ``signer.key.kind`` for a key that Crossport does not use."""
        self._key = key
        self._public = key.public_key()
        algorithm = algorithm_of(self._public)
        if algorithm is None:
            raise wrong_kind(key.name)
        self._algorithm = algorithm

    @property
    def key_id(self) -> str:
        """The key's id."""
        return key_id(self._public)

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        return self._algorithm

    def public_key(self) -> bytes:
        """Return the public half (SubjectPublicKeyInfo, DER)."""
        return self._public

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of ``payload``; raise Broken ``signer.signature.wrong`` when it is none."""
        signature = self._key.sign(payload, self._algorithm)
        if not is_signed(self._public, payload, signature):
            raise errors.Broken(
                "signer.signature.wrong",
                f"What {self._key.name} returned is no signature by its own key.",
                remedy="Find out whether its private and public half belong together; nothing was signed.",
            )
        return only_form(signature, self._algorithm)
