"""What it means that somebody is let in."""

from crossport.model.federation import Provider, Subject, TrustRule
from crossport.model.record import record

__all__ = ["CERTIFICATE", "Admission"]

CERTIFICATE = "x5t#S256:"
"""What stands before the thumbprint of a certificate (RFC 8705); one of a bare key (RFC 9449) has nothing."""


@record()
class Admission:
    """Whom a token stands for here, by which rule, and until when (Unix seconds).

    ``provider`` vouches for it. ``audience`` is what the token is meant for: this site. ``key`` is the
    thumbprint of the key, or of the certificate, that whoever sends it must have; empty for a bearer's.
    """

    subject: Subject
    rule: TrustRule
    provider: Provider
    audience: str
    until: float
    key: str = ""
