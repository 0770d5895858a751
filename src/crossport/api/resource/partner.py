"""Partners: other sites that this one exchanges keys with, trusts, and ceases to trust."""

from typing import Annotated

from fastapi import Depends

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, PartnerName, TenantName, Who, page
from crossport.api.route import Route
from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    Compromise,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    LinkFigures,
    Partner,
    PartnerInvitation,
    PartnerState,
    ShownPartner,
    TenantRule,
    Touched,
)
from crossport.spi.trust import Trust

__all__ = ["PartnerRoutes"]

RULE = TenantRule(theirs="acme", ours="acme-south", clouds=("beta",))
PARTNER = Partner(
    name="south",
    authorities=("-----BEGIN CERTIFICATE-----\n…",),
    address="https://south.example.org:8445",
    root="MFkwEwYHKoZIzj0C…",
    roles="eyJwYXlsb2FkIjoi…",
    state=PartnerState.ACCEPTED,
    tenants=(RULE,),
    link=LinkFigures(
        mtu=1500,
        round_trip_s=0.018,
        loss=0.0004,
        rate_out=58_720_256.0,
        rate_in=61_865_984.0,
        measured=example.NOON,
    ),
    since=example.NOON,
    changed=example.NOON,
    refreshed=example.NOON,
)
SHOWN = ShownPartner(fingerprint="9d" * 32, own_fingerprint="4a" * 32, partner=PARTNER)
INVITE = InviteRequest(partner="south")
INVITATION = PartnerInvitation(
    partner="south",
    expires=example.NOON + 600,
    fingerprint="4a" * 32,
    invitation="crossport-partner-1.eyJ…",
)
COMPROMISED = CompromiseRequest(since="2026-11-02T04:00Z")
COMPROMISE = Compromise(
    partner="south",
    since=example.NOON - 28_800,
    touched=(Touched(kind="run", id="mig-7f3a", at=example.NOON, about="web to beta"),),
)


class PartnerRoutes:
    """Serves ``/v1/partners``."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        return (*self._beginning(), *self._changing(), *self._ending())

    def _beginning(self) -> tuple[Route, ...]:
        many, one, shown = "/v1/partners", "/v1/partners/{partner}", example.shown(SHOWN)
        invitation = example.shown(INVITATION)
        return (
            Route("GET", many, "partner.list", self.list, example.page_of(SHOWN)),
            Route("GET", one, "partner.show", self.show, shown, raises=(404,)),
            Route(
                "POST",
                "/v1/partner-invitations",
                "partner.invite",
                self.invite,
                invitation,
                201,
                InviteRequest,
                example.shown(INVITE),
                raises=(409,),
            ),
            Route(
                "POST",
                many,
                "partner.accept",
                self.accept,
                shown,
                201,
                AcceptRequest,
                example.shown(AcceptRequest(invitation=INVITATION.invitation)),
                raises=(404, 409),
            ),
            Route(
                "POST",
                one + "/confirm",
                "partner.confirm",
                self.confirm,
                shown,
                200,
                ConfirmRequest,
                example.shown(ConfirmRequest(fingerprint=SHOWN.fingerprint)),
                raises=(404, 409),
            ),
        )

    def _changing(self) -> tuple[Route, ...]:
        one, shown = "/v1/partners/{partner}", example.shown(SHOWN)
        return (
            Route(
                "POST",
                one + "/tenants",
                "partner.allow",
                self.allow,
                shown,
                200,
                TenantRule,
                example.shown(RULE),
                raises=(404,),
            ),
            Route(
                "DELETE",
                one + "/tenants/{theirs}",
                "partner.disallow",
                self.disallow,
                shown,
                raises=(404,),
            ),
            Route(
                "POST",
                "/v1/partner-authority",
                "partner.rotate",
                self.rotate,
                example.page_of(SHOWN),
                200,
                AuthorityRequest,
                example.shown(AuthorityRequest()),
                raises=(404, 409),
            ),
        )

    def _ending(self) -> tuple[Route, ...]:
        one, shown = "/v1/partners/{partner}", example.shown(SHOWN)
        return (
            Route("POST", one + "/revoke", "partner.revoke", self.revoke, shown, raises=(404,)),
            Route(
                "POST",
                one + "/compromise",
                "partner.compromise",
                self.compromise,
                example.shown(COMPROMISE),
                200,
                CompromiseRequest,
                example.shown(COMPROMISED),
                raises=(404,),
            ),
            Route("DELETE", one, "partner.forget", self.forget, status=204, raises=(404, 409)),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[ShownPartner]:
        """List the sites that exchanged keys with this one, by name, in whatever state."""
        del who  # partners are the site's, not a tenant's
        found = await self._trust.shown()
        return page(found, tuple(one.partner.name for one in found), after, limit)

    async def show(self, who: Who, partner: PartnerName) -> ShownPartner:
        """Show one, with the fingerprints that both operators compare, whole."""
        del who
        return await self._trust.show(partner)

    async def invite(
        self, who: Who, request: Annotated[InviteRequest, Depends(body(InviteRequest))]
    ) -> PartnerInvitation:
        """Let one site exchange keys with this one, once and within ten minutes.

        The text to hand to its operator is shown this once.
        """
        del who
        return await self._trust.invite(request)

    async def accept(
        self, who: Who, request: Annotated[AcceptRequest, Depends(body(AcceptRequest))]
    ) -> ShownPartner:
        """Exchange keys with the site that wrote an invitation. Nothing is trusted before it is confirmed."""
        del who
        return await self._trust.accept(request)

    async def confirm(
        self,
        who: Who,
        partner: PartnerName,
        request: Annotated[ConfirmRequest, Depends(body(ConfirmRequest))],
    ) -> ShownPartner:
        """Trust a site whose operator says that this is its fingerprint. The link to it is probed first."""
        del who
        return await self._trust.confirm(partner, request)

    async def allow(
        self, who: Who, partner: PartnerName, request: Annotated[TenantRule, Depends(body(TenantRule))]
    ) -> ShownPartner:
        """Let a tenant of the partner act here as one of ours, on these clouds."""
        del who
        return await self._trust.allow(partner, request)

    async def disallow(self, who: Who, partner: PartnerName, theirs: TenantName) -> ShownPartner:
        """Let a tenant of the partner act here no longer."""
        del who
        return await self._trust.disallow(partner, theirs)

    async def rotate(
        self, who: Who, request: Annotated[AuthorityRequest, Depends(body(AuthorityRequest))]
    ) -> Page[ShownPartner]:
        """Make a new authority that vouches for this site to partners, and tell it to them.

        The answer has those that know it. It is used once all do, in a day at the latest; the old one stays
        good for a day more, so that what runs goes on. With ``revoke`` it counts no more at once: connections
        that it vouched for end within seconds, and a partner that is not told now has to exchange keys anew.
        """
        del who
        return Page(items=await self._trust.rotate(request))

    async def revoke(self, who: Who, partner: PartnerName) -> ShownPartner:
        """Trust a partner no longer. Its connections end within seconds."""
        del who
        return await self._trust.revoke(partner)

    async def compromise(
        self,
        who: Who,
        partner: PartnerName,
        request: Annotated[CompromiseRequest, Depends(body(CompromiseRequest))],
    ) -> Compromise:
        """Trust a partner no longer because its keys were in other hands; list what they had a part in."""
        del who
        return await self._trust.compromise(partner, request)

    async def forget(self, who: Who, partner: PartnerName) -> None:
        """Keep nothing of a site that is not trusted."""
        del who
        await self._trust.forget(partner)
