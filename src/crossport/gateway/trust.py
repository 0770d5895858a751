"""Who may speak with whom: the TLS of both ends of a control connection, and the names in certificates.

The site's authority is all that either end trusts, and names are URIs: a gateway speaks with nobody but its
site's ``control``, wherever that is reached, and a site with nobody but gateways that joined.
"""

import hashlib
import os
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crossport import errors
from crossport.spi.secret import Secret

__all__ = [
    "CONTROL",
    "GATEWAY",
    "check_site",
    "fingerprint",
    "gateway_context",
    "load",
    "new_key",
    "peer_name",
    "request_for",
    "site_context",
]

CONTROL, GATEWAY = "control", "gateway"
"""The roles in the names of certificates."""


def site_context(authority: str, certificate: str, key: Secret) -> ssl.SSLContext:
    """Return the site's TLS: whoever has a certificate must have it of the site's authority.

    One that is about to join has none; what it may say then is decided by who answers it.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed session would not show its certificate again
    load(context, certificate, key)
    return context


def gateway_context(authority: str, certificate: str = "", key: Secret | None = None) -> ssl.SSLContext:
    """Return a gateway's TLS; without a certificate for joining. `check_site` belongs to it."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, authority)
    context.check_hostname = False  # the name is a URI, which `check_site` compares
    context.verify_mode = ssl.CERT_REQUIRED
    if key is not None:
        load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: str, key: Secret) -> None:
    """Let ``context`` show this certificate from now on."""
    with _in_memory(certificate + key.reveal()) as path:
        context.load_cert_chain(path)


def check_site(tls: ssl.SSLObject | None, site: str) -> None:
    """Raise Refused unless the peer is the control plane of ``site``; its chain was checked before."""
    if not peer_name(tls).startswith(f"crossport://{site}/{CONTROL}/"):
        raise errors.Refused(
            "gateway.site.foreign",
            f"Who answers is not the control plane of site {site}.",
            remedy="Somebody else answers at the site's address. Look at the network between.",
        )


def peer_name(tls: ssl.SSLObject | None) -> str:
    """Return the URI in the peer's certificate, empty where it showed none."""
    shown = cast("dict[str, Any]", (tls.getpeercert() if tls else None) or {})
    return next((name for kind, name in shown.get("subjectAltName", ()) if kind == "URI"), "")


def fingerprint(certificate: str | bytes) -> str:
    """Return the hex SHA-256 of a certificate (PEM or DER)."""
    der = ssl.PEM_cert_to_DER_cert(certificate) if isinstance(certificate, str) else certificate
    return hashlib.sha256(der).hexdigest()


def new_key() -> Secret:
    """Return a new private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(pem.decode())


def request_for(key: Secret) -> str:
    """Return a request (CSR, PEM) for a certificate of ``key``. The site decides the name."""
    private = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise errors.Broken(
            "gateway.key.kind",
            "The gateway's key is not one of its own making.",
            remedy="Let it join anew: remove its directory, then crossport gateway enroll.",
        )
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _context(protocol: int, authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context


@contextmanager
def _in_memory(content: str) -> Generator[str]:
    """OpenSSL wants a path; this file exists in memory only and ends with the block."""
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, content.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
