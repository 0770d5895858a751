"""Who may speak at all: both ends judge the other's certificate within the handshake, before any content.

A certificate counts when an authority of exactly that site issued it directly, it names that site's control
plane by URI, and it was made for a day at most. That another partner's authority signed the same name is
worth nothing.
"""

import datetime
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from crossport.identity.tls import context_of, load
from crossport.spi.secret import Secret

__all__ = [
    "CONTROL",
    "INVITED",
    "HTTP",
    "LINES",
    "Check",
    "causes",
    "checked_context",
    "is_issued_by",
    "name_in",
]

CONTROL, INVITED = "control", "invited"
"""The roles in names: a site's control plane, and whoever holds an invitation of the site."""
HTTP, LINES = "http/1.1", "crossport-lines/1"
"""What is spoken on a connection (ALPN)."""
LONGEST_LIFE = datetime.timedelta(hours=24, minutes=10)
"""A day, and what the issuer's clock may be off."""

Check = Callable[[x509.Certificate], bool]
"""Says whether a peer with this certificate, whose chain is sound, is who it must be."""


def checked_context(
    protocol: int, authorities: Sequence[str], own: tuple[str, Secret], check: Check, speaks: Sequence[str]
) -> ssl.SSLContext:
    """Return a TLS context that shows ``own`` and ends the handshake with whom ``check`` does not accept."""
    context = context_of(protocol, "".join(authorities))
    context.check_hostname = False  # the name is a URI, which `check` compares
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a resumed session would not show its certificate again
    context.set_alpn_protocols(list(speaks))
    load(context, *own)

    class Checked(ssl.SSLObject):
        """A TLS session whose handshake is only done once the peer was judged."""

        def do_handshake(self) -> None:
            super().do_handshake()
            shown = x509.load_der_x509_certificate(self.getpeercert(binary_form=True) or b"")
            if not check(shown):
                raise ssl.SSLCertVerificationError("the certificate is of somebody else")

    context.sslobject_class = Checked
    return context


def name_in(certificate: x509.Certificate) -> tuple[str, str, str]:
    """Return site, role and name of a certificate; empty texts where it has not exactly one such name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "", "", ""
    uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    parts = uris[0].removeprefix("crossport://").split("/") if len(uris) == 1 else []
    if len(parts) != 3 or not uris[0].startswith("crossport://"):
        return "", "", ""
    return parts[0], parts[1], parts[2]


def is_issued_by(certificate: x509.Certificate, authorities: Sequence[str]) -> bool:
    """Say whether one of these authorities (PEM) issued the certificate itself, for a day at most."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return life <= LONGEST_LIFE and any(_issued(certificate, one) for one in authorities)


def _issued(certificate: x509.Certificate, authority: str) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def causes(error: BaseException) -> list[Any]:
    """Return an error with all that it came from."""
    found = list[Any]()
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found
