"""Check a signature by the key alone: it decides the algorithm, nothing in the signed text does."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from crossport.model.keyring import Algorithm, Key

__all__ = ["PublicKey", "public_key", "signed_by"]

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def public_key(key: Key) -> PublicKey | None:
    """Return the key for its own algorithm; None when it is of another kind, or written otherwise than
    DER."""
    try:
        loaded = load_der_public_key(key.der())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != key.der():
        return None
    match key.algorithm, loaded:
        case Algorithm.ED25519, ed25519.Ed25519PublicKey():
            return loaded
        case Algorithm.ECDSA_P256, ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return loaded
        case _:
            return None


def signed_by(key: PublicKey, signature: bytes, payload: bytes) -> bool:
    """Say whether ``signature`` is the key's over ``payload``."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
        else:
            key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
