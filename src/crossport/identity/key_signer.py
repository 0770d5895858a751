"""A signer whose key is in this process: made here, or read from a file that only its owner may read."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from crossport import errors
from crossport.identity import private_file
from crossport.identity.signature import wrong_kind
from crossport.model.keyring import Algorithm, key_id
from crossport.model.signature import only_form

__all__ = ["KeySigner"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeySigner:
    """A `crossport.spi.signer.Signer`. `made` and `opened` return one."""

    def __init__(self, key: PrivateKey) -> None:
        """Sign with ``key``, one of P-256 or Ed25519."""
        self._key = key
        self._public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def made(cls, algorithm: Algorithm) -> "KeySigner":
        """Return a signer with a new key, which is kept nowhere."""
        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def opened(cls, path: Path) -> "KeySigner":
        """Return the signer whose key ``path`` holds, in PEM without a password.

        Raise NotFound ``signer.key.absent`` without the file, Refused when others can read it, Broken
        ``signer.key.damaged`` when it holds no key, Refused ``signer.key.kind`` for a key of another kind.
        """
        kept = private_file.read(path)
        if kept is None:
            raise errors.NotFound(
                "signer.key.absent",
                f"There is no {path}.",
                field="key",
                remedy="Name the file of a key, or make one: crossport key make FILE",
            )
        try:
            key = serialization.load_pem_private_key(kept, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise errors.Broken(
                "signer.key.damaged",
                f"{path} does not hold a private key in PEM without a password.",
                field="key",
                remedy="Restore the file from a backup, or make a new key and revoke this one.",
            ) from error
        if isinstance(key, ed25519.Ed25519PrivateKey) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            return cls(key)
        raise wrong_kind(str(path))

    def keep(self, path: Path) -> None:
        """Write the key into a new file that only its owner may read; raise Conflict when there is one."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        private_file.create(path, pem)

    @property
    def key_id(self) -> str:
        """The hex SHA-256 of the public key."""
        return key_id(self._public)

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return Algorithm.ED25519
        return Algorithm.ECDSA_P256

    def public_key(self) -> bytes:
        """Return the public key (SubjectPublicKeyInfo, DER)."""
        return self._public

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of ``payload``."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(payload)
        return only_form(self._key.sign(payload, ec.ECDSA(hashes.SHA256())), self.algorithm)
