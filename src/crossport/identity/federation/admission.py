"""What it means that somebody is let in."""

from crossport.model.federation import Subject, TrustRule
from crossport.model.record import record

__all__ = ["Admission"]


@record()
class Admission:
    """Whom a token stands for here, by which rule, and until when (Unix seconds).

    ``audience`` is what the token is meant for: this site. ``key`` is the thumbprint of the key that whoever
    sends it must have; empty for a bearer's.
    """

    subject: Subject
    rule: TrustRule
    audience: str
    until: float
    key: str = ""
