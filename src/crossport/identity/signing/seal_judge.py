"""What the signer looks at before it signs a seal. Pure; each reason against one has a code of its own.

The control plane approves a run, the gateway claims what it read there, and the statement has to say just
that: neither of the two alone gets anything signed.
"""

import base64
import dataclasses
import datetime
import hashlib
import hmac
import json
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from crossport import errors
from crossport.model import codec, statement
from crossport.model.certified import Seal
from crossport.model.sealing import Approval, Claim, ClaimedDisk, SignedClaim
from crossport.model.signature import is_signed

__all__ = ["APPROVED_S", "CLAIM_CONTEXT", "Standards", "approved", "judge"]

APPROVED_S = 3600.0
"""How long an approval lives at most."""
SEALED_S = 31 * 86400.0
"""How long a seal is valid at most."""
SKEW_S = 300.0
CLAIM_CONTEXT = b"crossport claim\0"
"""What a gateway signs before a claim, so that nothing else that it signs can be taken for one."""


@dataclass(frozen=True, slots=True)
class Standards:
    """What the signer measures by: its site, the authority's key (DER), and the secret of approvals."""

    site: str
    authority: bytes
    secret: bytes
    now: float


def approved(approval: Approval, secret: bytes) -> Approval:
    """Return the approval with its MAC."""
    return dataclasses.replace(approval, mac=_mac(approval, secret))


def judge(approval: Approval, signed: SignedClaim, payload: bytes, by: Standards) -> None:
    """Raise Refused with a ``signer.…`` code unless this statement may be signed. Whether the nonce was used
    is not looked at here."""
    if not hmac.compare_digest(approval.mac.encode(), _mac(approval, by.secret).encode()):
        raise _refused("signer.approval.forged", "The control plane did not approve this.")
    if not by.now < approval.expires <= by.now + APPROVED_S:
        raise _refused("signer.approval.expired", "The approval is expired, or is good for too long.")
    claim = _claim(signed, approval.gateway, by)
    if (claim.site, claim.run) != (by.site, approval.run):
        raise _refused("signer.claim.other", f"The gateway claims what it read for run {claim.run}.")
    seal = _seal(payload)
    wanted = (by.site, approval.importer, approval.run, approval.nonce)
    if (seal.site, seal.importer, seal.run, seal.nonce) != wanted:
        raise _refused("signer.seal.other", "The statement names another site, importer, run or nonce.")
    if abs(seal.made - by.now) > SKEW_S or not seal.made < seal.valid_until <= seal.made + SEALED_S:
        raise _refused("signer.seal.time", "The statement is not of now, or is valid for too long.")
    sealed = tuple(
        ClaimedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)
        for disk in seal.manifest.disks
    )
    if sealed != claim.disks:
        raise _refused("signer.seal.disks", "The statement lists other disks than the gateway read.")


def _claim(signed: SignedClaim, gateway: str, by: Standards) -> Claim:
    try:
        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        payload = base64.b64decode(signed.payload, validate=True)
        signature = base64.b64decode(signed.signature, validate=True)
        claim = codec.decoded(payload, Claim)
    except (ValueError, x509.InvalidVersion, errors.Invalid) as error:
        raise _refused("signer.claim.malformed", "The gateway's claim is none.") from error
    key = _vouched(certificate, f"crossport://{by.site}/gateway/{gateway}", by)
    if key is None:
        raise _refused("signer.claim.foreign", f"The claim is not by gateway {gateway} of this site.")
    if not is_signed(key, CLAIM_CONTEXT + payload, signature):
        raise _refused("signer.claim.forged", "The gateway did not sign this claim.")
    return claim


def _vouched(certificate: x509.Certificate, name: str, by: Standards) -> bytes | None:
    """Return the public key (DER) for which the site's authority vouches now, as that of ``name``.

    None when it does not. Of a stranger's certificate nothing is read but who signed it.
    """
    if not is_signed(by.authority, certificate.tbs_certificate_bytes, certificate.signature):
        return None
    now = datetime.datetime.fromtimestamp(by.now, datetime.UTC)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    valid = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
    if not valid or names.get_values_for_type(x509.UniformResourceIdentifier) != [name]:
        return None
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _seal(payload: bytes) -> Seal:
    try:
        seal = codec.from_plain(json.loads(payload)["predicate"], Seal)
    except (ValueError, TypeError, KeyError, RecursionError, errors.Invalid) as error:
        raise _refused("signer.seal.malformed", "What shall be signed is no seal's statement.") from error
    if statement.payload_of(seal) != payload:
        raise _refused("signer.seal.malformed", "The statement says something else than its seal.")
    return seal


def _mac(approval: Approval, secret: bytes) -> str:
    content = codec.encoded(dataclasses.replace(approval, mac="")).encode()
    return hmac.new(secret, b"crossport approval\0" + content, hashlib.sha256).hexdigest()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The signer does not sign this. {text}",
        remedy="Nothing was signed. Look at the run and its gateway, and for who else may have asked.",
    )
