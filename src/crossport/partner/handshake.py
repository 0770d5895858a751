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

from crossport import errors
from crossport.identity.tls import context_of, load
from crossport.model import codec
from crossport.model.failure import Failure
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
    "last_words",
    "name_in",
    "outlived",
]

CONTROL, INVITED = "control", "invited"
"""The roles in names: a site's control plane, and whoever holds an invitation of the site."""
HTTP, LINES = "http/1.1", "crossport-lines/1"
"""What is spoken on a connection (ALPN)."""
LONGEST_LIFE = datetime.timedelta(hours=24, minutes=10)
"""A day, and what the issuer's clock may be off."""

Check = Callable[[x509.Certificate], bool]
"""Says whether a peer with this certificate, whose chain is sound, is who it must be."""


class _Telling(ssl.SSLContext):
    """A context whose sessions know where their own words wait to be sent."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **more: Any) -> Any:
        session: Any = super().wrap_bio(incoming, outgoing, *args, **more)
        session.outgoing = outgoing
        return session


def last_words(error: BaseException) -> bytes:
    """Return what a session had to say to its peer when its handshake failed: an alert, encrypted.

    asyncio drops it with the session, so that the peer would see a connection that breaks and no reason.
    """
    return getattr(error, "last_words", b"")


def _refusal(speaks: str) -> bytes:
    """Return how somebody is told that his certificate is nobody's here; TLS itself has no word for that."""
    failure = Failure.of(
        errors.Refused(
            "partner.certificate.refused",
            "This certificate is of no partner of the site that was asked.",
            field="partner",
            remedy="The other site may have revoked this one. Ask its operator.",
        )
    )
    said = codec.encoded(failure).encode()
    if speaks == LINES:
        return b"!" + said + b"\n"
    head = f"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: {len(said)}\r\n\r\n"
    return head.encode() + said


def checked_context(
    protocol: int, authorities: Sequence[str], own: tuple[str, Secret], check: Check, speaks: Sequence[str]
) -> ssl.SSLContext:
    """Return a TLS context that shows ``own`` and ends the handshake with whom ``check`` does not accept."""
    context = context_of(protocol, "".join(authorities), _Telling)
    context.check_hostname = False  # the name is a URI, which `check` compares
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a resumed session would not show its certificate again
    context.set_alpn_protocols(list(speaks))
    load(context, *own)

    class Checked(ssl.SSLObject):
        """A TLS session whose handshake is only done once the peer was judged."""

        outgoing: ssl.MemoryBIO

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                error.last_words = self.outgoing.read()  # type: ignore[attr-defined]
                raise
            shown = x509.load_der_x509_certificate(self.getpeercert(binary_form=True) or b"")
            if not check(shown):
                somebody = ssl.SSLCertVerificationError("the certificate is of somebody else")
                if self.server_side:
                    self.write(_refusal(self.selected_alpn_protocol() or HTTP))
                    somebody.last_words = self.outgoing.read()  # type: ignore[attr-defined]
                raise somebody

    context.sslobject_class = Checked
    return context


def outlived(partner: str, certificate: x509.Certificate, now: float) -> errors.Unavailable | None:
    """Return why a connection must end whose other end showed this: its time is over. Else None."""
    if certificate.not_valid_after_utc.timestamp() >= now:
        return None
    return errors.Unavailable(
        "partner.certificate.expired",
        f"The connection with {partner} is older than the certificate that was shown on it.",
        field="partner",
        remedy=errors.TRIED_AGAIN,
    )


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
