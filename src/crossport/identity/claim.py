"""What a gateway vouches for with its own key: disks of a run that it read, wrote, or converted.

Nothing else that a gateway signs can be taken for a claim, and a claim of one kind not for one of another.
"""

import base64
import datetime
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crossport import errors
from crossport.model import codec
from crossport.model.sealing import Claim
from crossport.model.signature import is_signed
from crossport.model.signed_claim import SignedClaim
from crossport.spi.secret import Secret

__all__ = ["Authenticity", "Kind", "claim_in", "signed_claim"]


class Kind(Enum):
    """What is claimed, as what is signed before the claim."""

    READ = b"crossport claim\0"
    WRITTEN = b"crossport arrival\0"
    CONVERTED = b"crossport conversion\0"


@dataclass(frozen=True, slots=True)
class Authenticity:
    """Whose claims count: those of gateways of ``site``, which its authority (key, DER) vouches for now."""

    site: str
    authority: bytes
    now: float


def signed_claim(claim: Claim, kind: Kind, certificate: str, key: Secret) -> SignedClaim:
    """Return the claim signed by the gateway that has this certificate (PEM) and key (PEM)."""
    loaded = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("a gateway's key is one of P-256")
    payload = codec.encoded(claim).encode()
    signature = loaded.sign(kind.value + payload, ec.ECDSA(hashes.SHA256()))
    return SignedClaim(payload=_text(payload), signature=_text(signature), certificate=certificate)


def claim_in(signed: SignedClaim, kind: Kind, by: Authenticity) -> tuple[str, Claim]:
    """Return the gateway and what it claims; raise Refused for a claim of another site, kind or key."""
    try:
        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        payload = base64.b64decode(signed.payload, validate=True)
        signature = base64.b64decode(signed.signature, validate=True)
        claim = codec.decoded(payload, Claim)
    except (ValueError, x509.InvalidVersion, errors.Invalid) as error:
        raise _refused("signer.claim.malformed", "The gateway's claim is none.") from error
    gateway, key = _vouched(certificate, by)
    if not gateway:
        raise _refused("signer.claim.foreign", f"The claim is not by a gateway of site {by.site}.")
    if not is_signed(key, kind.value + payload, signature):
        raise _refused("signer.claim.forged", "The gateway did not sign this claim.")
    if claim.site != by.site:
        raise _refused("signer.claim.other", f"The gateway claims what it did for site {claim.site}.")
    return gateway, claim


def _vouched(certificate: x509.Certificate, by: Authenticity) -> tuple[str, bytes]:
    """Return the gateway for which the site's authority vouches now, and its public key (DER).

    Empty when it does not. Of a stranger's certificate nothing is read but who signed it.
    """
    nobody = ("", b"")
    if not is_signed(by.authority, certificate.tbs_certificate_bytes, certificate.signature):
        return nobody
    now = datetime.datetime.fromtimestamp(by.now, datetime.UTC)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return nobody
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    prefix = f"crossport://{by.site}/gateway/"
    valid = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
    if not valid or len(uris) != 1 or not uris[0].startswith(prefix):
        return nobody
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return uris[0].removeprefix(prefix), key


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The claim does not count. {text}",
        remedy="Nothing was signed. Look at the run and its gateway, and for who else may have asked.",
    )
