"""Public keys and what they prove: the one place that tells a good signature from another. Pure.

The key alone decides how a signature is checked, nothing in what was signed does.
"""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from crossport.model.keyring import Algorithm

__all__ = ["algorithm_of", "is_only_form", "is_signed", "only_form", "signing_bytes"]

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def algorithm_of(public_key: bytes) -> Algorithm | None:
    """Return how this key (SubjectPublicKeyInfo, DER) signs; None for any other key, one in another encoding,
    and no key."""
    key = _loaded(public_key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519
    return Algorithm.ECDSA_P256 if key else None


def is_signed(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    """Say whether this key made ``signature`` of ``payload``."""
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


def only_form(signature: bytes, algorithm: Algorithm) -> bytes:
    """Return a good signature in the one of its forms that counts where every bit has to.

    Of an ECDSA signature (r, s) anybody can make (r, n - s), which is as good: that with the lower s counts.
    """
    if algorithm is not Algorithm.ECDSA_P256:
        return signature
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def is_only_form(signature: bytes, algorithm: Algorithm) -> bool:
    """Say whether a signature is in that form."""
    try:
        return only_form(signature, algorithm) == signature
    except ValueError:
        return False


def _loaded(public_key: bytes) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key:
        return None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None
