"""The two-sided exchange: what is carried between operators, and what is proven with the secret in it.

The secret itself never crosses the link. It keys a MAC over what each end said about itself, so that nobody
between them can put in a word of his own; an invitation is good for one attempt.
"""

import base64
import hashlib
import hmac

from crossport import errors
from crossport.identity.carried import Carried
from crossport.model import codec
from crossport.model.partner import SiteName
from crossport.model.record import record
from crossport.partner.introduction import Introduction

__all__ = ["INVITED_S", "LINE", "Greeting", "Invitation", "proof", "require_proven"]

INVITED_S = 600.0
"""How long an invitation is good."""


@record()
class Invitation:
    """What the invited site's operator is handed, with the certificate that opens the exchange alone.

    ``id`` names it at the site that wrote it, ``secret`` is base64 of 32 bytes.
    """

    id: str
    partner: SiteName
    introduction: Introduction
    secret: str
    certificate: str
    key: str
    expires: float


@record()
class Greeting:
    """A site's word about itself, with the proof that it knows the invitation's secret."""

    introduction: Introduction
    proof: str


_VERSION = 1


def _unreadable(why: str) -> errors.Invalid:
    return errors.Invalid(
        "partner.invitation.unreadable",
        f"This is no invitation. {why}",
        field="invitation",
        remedy="Take the whole line that `crossport trust invite` wrote.",
    )


def _newer(version: int) -> errors.Invalid:
    return errors.Invalid(
        "partner.invitation.newer",
        f"It is of version {version}; this release reads {_VERSION}.",
        field="invitation",
        remedy="Install the site's release of Crossport here.",
    )


LINE = Carried(Invitation, "crossport-partner-", _VERSION, _unreadable, _newer)


def proof(secret: bytes, id_: str, said: Introduction, heard: Introduction | None) -> str:
    """Return the MAC over what one end says, and over what it heard before of the other (None: nothing)."""
    parts = [b"crossport partner exchange 1", id_.encode(), codec.encoded(said).encode()]
    parts += [codec.encoded(heard).encode()] if heard is not None else []
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    return base64.b64encode(hmac.digest(secret, digests, "sha256")).decode()


def require_proven(secret: bytes, id_: str, greeting: Greeting, heard: Introduction | None) -> None:
    """Raise Refused ``partner.exchange.forged`` unless who greets knows the secret and heard the same."""
    expected = proof(secret, id_, greeting.introduction, heard)
    if not hmac.compare_digest(expected, greeting.proof):
        raise errors.Refused(
            "partner.exchange.forged",
            "What the other site says about itself was not said by who holds the invitation.",
            field="invitation",
            remedy="Somebody between both sites may have changed it. Trust nothing of it, find out who, and "
            "begin anew with another invitation.",
        )
