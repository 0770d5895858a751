"""Public keys and what they prove: the one place that tells a good signature from another."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from crossport import errors
from crossport.model.keyring import Algorithm

__all__ = ["algorithm_of", "is_signed", "signing_bytes", "wrong_kind"]


def algorithm_of(public_key: bytes) -> Algorithm | None:
    """Return how this key (SubjectPublicKeyInfo, DER) signs; None for any other key and for no key."""
    key = _loaded(public_key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519
    return Algorithm.ECDSA_P256 if key else None


def is_signed(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    """Say whether this key made ``signature`` of ``payload``. The key alone decides how it is checked."""
    key = _loaded(public_key)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
        elif key:
            key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return key is not None


def signing_bytes(kind: str, payload: bytes) -> bytes:
    """Return what is signed of a payload of this kind (DSSE): so it is never taken for one of another."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def wrong_kind(name: str) -> errors.Refused:
    """Return what is said of a key that Crossport does not sign with."""
    return errors.Refused(
        "signer.key.kind",
        f"{name} is neither a key of P-256 nor one of Ed25519.",
        field="key",
        remedy="Make a new key of one of the two.",
    )


def _loaded(public_key: bytes) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None:
    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None
