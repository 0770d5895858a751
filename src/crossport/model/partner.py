"""Partners: other sites that were accepted, whom they may act for here, and how good the link to them is."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.name import Moment, Name
from crossport.model.record import record

__all__ = [
    "AcceptRequest",
    "AuthorityRequest",
    "Compromise",
    "CompromiseRequest",
    "ConfirmRequest",
    "InviteRequest",
    "LinkFigures",
    "Partner",
    "PartnerInvitation",
    "PartnerState",
    "ShownPartner",
    "TenantRule",
    "Touched",
]

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]


class PartnerState(StrEnum):
    """How far a partner is trusted.

    One that is ``invited`` has exchanged keys, and its operator or ours has not yet compared the fingerprint.
    Only one that is ``accepted`` may do anything. The authority of one that is ``compromised`` was in other
    hands from some moment on.
    """

    INVITED = "invited"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    COMPROMISED = "compromised"


@record()
class TenantRule:
    """A tenant of the partner acts here as our tenant ``ours``, on these clouds and no others."""

    theirs: Name
    ours: Name
    clouds: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]


@record()
class LinkFigures:
    """What a probe of the link found: bytes of a packet, seconds, share of segments sent again, bytes/s."""

    mtu: int
    round_trip_s: float
    loss: float
    rate_out: float
    rate_in: float
    measured: float


@record()
class Partner:
    """Another site, as this site knows it. ``name`` is the site's own, as its certificates have it.

    ``authorities`` (PEM) are the only ones that vouch for it, ``address`` (``https://HOST:PORT``) is where it
    listens for us. ``root`` (base64) signs its role documents; ``roles`` (base64) is the envelope of the
    newest that was believed, which was got from the partner itself at ``refreshed``. From ``compromised`` on,
    what its keys did may have been done by others. Times are Unix seconds.
    """

    name: Name
    authorities: tuple[str, ...]
    address: str
    root: str
    roles: str
    state: PartnerState
    tenants: tuple[TenantRule, ...] = ()
    link: LinkFigures | None = None
    since: float
    changed: float
    refreshed: float
    compromised: float | None = None


@record()
class ShownPartner:
    """A partner, and what both operators compare, whole: the hex SHA-256 of its authority and of ours."""

    fingerprint: str
    own_fingerprint: str
    partner: Partner


@record()
class InviteRequest:
    """Which site is invited, by the name that it has itself."""

    partner: SiteName


@record()
class PartnerInvitation:
    """What an invited site needs to become a partner, once and until ``expires`` (Unix seconds).

    ``invitation`` is the text to carry to its operator, with a secret in it that is kept nowhere else.
    ``fingerprint`` is the hex SHA-256 of this site's authority.
    """

    partner: str
    expires: float
    fingerprint: str
    invitation: str


@record()
class AcceptRequest:
    """The text that the other site's operator handed over."""

    invitation: Annotated[str, Field(max_length=1 << 20)]


@record()
class ConfirmRequest:
    """The whole fingerprint of the partner's authority, as its operator said it."""

    fingerprint: Fingerprint


@record()
class CompromiseRequest:
    """Since when a partner's keys may have been in other hands; empty means that it was always so."""

    since: Moment = ""


@record()
class AuthorityRequest:
    """Let a new authority vouch for this site. ``revoke``: at once, and let those before it count no more."""

    revoke: bool = False


@record()
class Touched:
    """Something that a partner's keys had a part in: a ``kind`` (run, statement, seal, head), its
    id, and when."""

    kind: str
    id: str
    at: float
    about: str = ""


@record()
class Compromise:
    """What was done with a partner's keys from ``since`` (Unix seconds) on, oldest first."""

    partner: str
    since: float
    touched: tuple[Touched, ...]
