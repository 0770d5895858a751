"""How a site's operator makes partners of other sites, and ends that."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    Compromise,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    PartnerInvitation,
    ShownPartner,
    TenantRule,
    Touched,
)
from crossport.model.partner_run import CleanRequest, PartnerRun
from crossport.spi.site import Cleaned

__all__ = ["PartnerRuns", "Trace", "Trust"]

Trace: TypeAlias = Callable[[str, float], Awaitable[tuple[Touched, ...]]]
"""Returns what a partner, named first, had a part in from a moment on."""


class Trust(Protocol):
    """The partners of a site, for its operator. One that is unknown is NotFound ``partner.unknown``."""

    async def invite(self, request: InviteRequest) -> PartnerInvitation:
        """Let one site exchange keys with this one, once and within ten minutes.

        Raise Conflict ``partner.site.closed`` when this site does not listen for partners, ``partner.known``.
        """
        ...

    async def accept(self, request: AcceptRequest) -> ShownPartner:
        """Exchange keys with the site that wrote the invitation. It is ``invited`` until it is confirmed."""
        ...

    async def confirm(self, name: str, request: ConfirmRequest) -> ShownPartner:
        """Trust a site that exchanged keys, once the link was probed.

        Raise Refused ``partner.fingerprint.other`` for another fingerprint than that of its authority, and
        with ``partner.link.…`` for a link that is not good enough.
        """
        ...

    async def shown(self) -> tuple[ShownPartner, ...]:
        """Return all, by name."""
        ...

    async def show(self, name: str) -> ShownPartner:
        """Return one in whatever state."""
        ...

    async def allow(self, name: str, rule: TenantRule) -> ShownPartner:
        """Let a tenant of the partner act here as one of ours; an earlier rule for it is replaced."""
        ...

    async def disallow(self, name: str, theirs: str) -> ShownPartner:
        """Let a tenant of the partner act here no longer; raise NotFound ``partner.tenant.unknown``."""
        ...

    async def revoke(self, name: str) -> ShownPartner:
        """Trust a partner no longer and end its connections. May be called again."""
        ...

    async def compromise(self, name: str, request: CompromiseRequest) -> Compromise:
        """Do the same because its keys were in other hands, and return what they had a part in since then."""
        ...

    async def forget(self, name: str) -> None:
        """Keep nothing of a site that is not trusted; raise Conflict ``partner.trusted`` for one that is."""
        ...

    async def rotate(self, request: AuthorityRequest) -> tuple[ShownPartner, ...]:
        """Make a new authority for the link and tell it to all partners; return those that know it now.

        With ``revoke`` it is used at once, and those before it count no more: connections end within seconds.
        """
        ...


class PartnerRuns(Protocol):
    """Runs that partners execute and that have an end here, for the operator of this site.

    One that is unknown is NotFound ``partner.run.unknown``.
    """

    async def runs(self, partner: str = "", *, after: str = "", limit: int = 100) -> tuple[PartnerRun, ...]:
        """Return the latest first, beginning behind the one with the id ``after``: all, or of one partner."""
        ...

    async def run(self, run: str) -> PartnerRun:
        """Return one by its id here."""
        ...

    async def clean(self, run: str, request: CleanRequest) -> Cleaned:
        """Remove what a run left here and does not keep, and bring back a source that it holds. Repeatable.

        Raise Conflict ``partner.run.going-on`` for one that is not over, unless the partner will never go on
        with it; Refused ``partner.run.last-copy`` or ``permit.source.gone`` where what would be given up may
        be the last copy.
        """
        ...
