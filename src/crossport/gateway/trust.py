"""Who may speak with whom: the TLS of both ends of a control connection, and the names in certificates.

The site's authority is all that either end trusts, and names are URIs: a gateway speaks with nobody but its
site's ``control``, wherever that is reached, and a site with nobody but gateways that joined.
"""

import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crossport import errors
from crossport.identity.tls import context_of, load, peer_name
from crossport.spi.secret import Secret

__all__ = [
    "CONTROL",
    "GATEWAY",
    "check_site",
    "gateway_context",
    "new_key",
    "request_for",
    "site_context",
]

CONTROL, GATEWAY = "control", "gateway"
"""The roles in the names of certificates."""


def site_context(authority: str, certificate: str, key: Secret) -> ssl.SSLContext:
    """Return the site's TLS: whoever has a certificate must have it of the site's authority.

    One that is about to join has none; what it may say then is decided by who answers it.
    """
    context = context_of(ssl.PROTOCOL_TLS_SERVER, authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed session would not show its certificate again
    load(context, certificate, key)
    return context


def gateway_context(authority: str, certificate: str = "", key: Secret | None = None) -> ssl.SSLContext:
    """Return a gateway's TLS; without a certificate for joining. `check_site` belongs to it."""
    context = context_of(ssl.PROTOCOL_TLS_CLIENT, authority)
    context.check_hostname = False  # the name is a URI, which `check_site` compares
    context.verify_mode = ssl.CERT_REQUIRED
    if key is not None:
        load(context, certificate, key)
    return context


def check_site(tls: ssl.SSLObject | None, site: str) -> None:
    """Raise Refused unless the peer is the control plane of ``site``; its chain was checked before."""
    if not peer_name(tls).startswith(f"crossport://{site}/{CONTROL}/"):
        raise errors.Refused(
            "gateway.site.foreign",
            f"Who answers is not the control plane of site {site}.",
            remedy="Somebody else answers at the site's address. Look at the network between.",
        )


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
