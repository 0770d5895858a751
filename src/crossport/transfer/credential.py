"""Make who one end of one copy is: a key where that end runs, and the certificate that its peer is told."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crossport.transfer.job import Credential

__all__ = ["made"]

# The ticket bounds a copy, not its certificate: the clocks of two gateways may differ.
_SINCE = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crossport worker")])


def made() -> Credential:
    """Return a new key with its self-signed certificate.

    Nobody vouches for it: the site tells each end the other's very certificate, which says more than any
    authority could. The key stays with whoever starts the worker.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credential(certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode())
