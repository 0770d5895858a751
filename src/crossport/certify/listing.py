"""The two files that other tools look at: the list of digests (``.mf``) and its signature (``.cert``).

DMTF DSP0243, 5.1 and 5.2. The certificate in the second is the sealing key's own, or one that a CA made for
it; its digest is sealed, so that every bit of it counts.
"""

import base64
import binascii
import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from crossport.certify.refusal import refused
from crossport.certify.verify import Verified, proven
from crossport.model.certified import Manifest
from crossport.model.keyring import Algorithm
from crossport.spi.signer import Signer

__all__ = ["certificate_file", "certified_key", "check_certificate_file", "listing", "own_certificate"]

_SIGNED_BY = {
    Algorithm.ECDSA_P256: bytes.fromhex("300a06082a8648ce3d040302"),  # ecdsa-with-SHA256, RFC 5758
    Algorithm.ED25519: bytes.fromhex("300506032b6570"),  # RFC 8410
}
_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
_STAND_IN = bytes(31) + b"\x01"


def listing(manifest: Manifest, seal_name: str, seal: bytes) -> bytes:
    """Return the ``.mf`` of a package: every file's SHA-256, the descriptor's first, the seal's last."""
    pairs = [(part.name, part.sha256) for part in manifest.parts]
    pairs += [(disk.file, disk.sha256) for disk in manifest.disks if disk.file and disk.sha256]
    pairs.append((seal_name, hashlib.sha256(seal).hexdigest()))
    return "".join(f"SHA256({name})= {digest}\n" for name, digest in pairs).encode()


def own_certificate(signer: Signer, *, site: str, made: float, valid_until: float) -> bytes:
    """Return a certificate (DER) of the signer's key for ``site``, signed by itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{site} seal"[:64])])
    serial = int.from_bytes(hashlib.sha256(signer.public_key() + str(made).encode()).digest()[:16]) >> 1 | 1
    public = load_der_public_key(signer.public_key())
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError(type(public))
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(made, UTC))
        .not_valid_after(datetime.fromtimestamp(valid_until, UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USAGE, critical=True)
    )
    # The key may lie in a token that only signs: another key makes the form, ours the signature.
    if signer.algorithm is Algorithm.ED25519:
        form = draft.sign(ed25519.Ed25519PrivateKey.from_private_bytes(_STAND_IN), None)
    else:
        form = draft.sign(ec.derive_private_key(1, ec.SECP256R1()), hashes.SHA256())
    body = form.tbs_certificate_bytes
    signature = _der(0x03, b"\0" + signer.sign(body))
    return _der(0x30, body + _SIGNED_BY[signer.algorithm] + signature)


def certified_key(certificate: bytes) -> bytes:
    """Return the public key (SubjectPublicKeyInfo, DER) in a certificate (DER); empty when it is none."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_file(name: str, listed: bytes, signer: Signer, certificate: bytes) -> bytes:
    """Return the ``.cert`` that signs ``listed``, the content of the file ``name``."""
    return _certificate_text(name, signer.sign(listed), certificate)


def check_certificate_file(
    verified: Verified, file: str, content: bytes, *, name: str, listed: bytes
) -> None:
    """Step 12: raise Refused unless ``content`` is the sealed certificate and signs ``listed``."""
    certificate = _certificate_in(content)
    if hashlib.sha256(certificate).hexdigest() != verified.seal.manifest.certificate:
        raise refused("seal.certificate.altered", field=file, name=file)
    signature = _signature_in(content)
    if _certificate_text(name, signature, certificate) != content:
        raise refused("seal.certificate.altered", field=file, name=file)
    if certified_key(certificate) != verified.key.der() or not proven(verified.key, signature, listed):
        raise refused("seal.certificate.wrong", field=file, name=file)


def _certificate_text(name: str, signature: bytes, certificate: bytes) -> bytes:
    text = base64.b64encode(certificate)
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return f"SHA256({name})= {signature.hex()}\n".encode() + _BEGIN + lines + _END


def _certificate_in(content: bytes) -> bytes:
    """Return the certificate's bytes, unread: only the sealed one is worth reading."""
    try:
        return base64.b64decode(content.partition(_BEGIN)[2].removesuffix(_END).replace(b"\n", b""))
    except binascii.Error:
        return b""


def _signature_in(content: bytes) -> bytes:
    try:
        return bytes.fromhex(content.partition(b"\n")[0].rpartition(b"= ")[2].decode("ascii"))
    except ValueError:
        return b""


def _der(tag: int, content: bytes) -> bytes:
    """Return one value in DER (X.690, 8.1.3)."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content
