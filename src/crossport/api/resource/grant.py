"""Run grants: by whose right runs go on, and taking it away."""

from crossport.api import example
from crossport.api.parameter import After, Limit, Page, RunId, Who, page
from crossport.api.resource.federation import RULE
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.model.access import Right
from crossport.model.federation import Ceilings, Subject
from crossport.model.grant import GrantScope, Holder, RunGrant
from crossport.spi.grant import RunGrants

__all__ = ["GrantRoutes"]

GRANT = RunGrant(
    run="3f9a1c7e20b4",
    tenant="acme",
    since=example.NOON,
    until=example.NOON + 24 * 3600,
    about="web",
    clouds=("alpha", "beta"),
    holder=Holder(
        tenant="acme",
        subject=Subject(issuer="https://login.acme.example", sub="alice"),
        rule=RULE,
        ceilings=Ceilings(clouds=("alpha", "beta")),
    ),
)


class GrantRoutes:
    """Serves ``/v1/grants``."""

    def __init__(self, grants: RunGrants) -> None:
        self._grants = grants

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        one, shown, missing = "/v1/grants/{run}", example.shown(GRANT), (404,)
        return (
            Route("GET", "/v1/grants", "grant.list", self.list, example.page_of(GRANT)),
            Route("GET", one, "grant.show", self.show, shown, raises=missing),
            Route("DELETE", one, "grant.revoke", self.revoke, shown, raises=missing),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[RunGrant]:
        """List the grants by which runs go on.

        Whom an identity provider knows sees its own, who may administer a tenant, or has a token of it, those
        of the tenant, and who has the right to the site those of all.
        """
        found = await self._grants.listed(_scope(who))
        return page(found, tuple(each.run for each in found), after, limit)

    async def show(self, who: Who, run: RunId) -> RunGrant:
        """Show by whose right a run goes on, and until when."""
        return await self._grants.shown(run, _scope(who))

    async def revoke(self, who: Who, run: RunId) -> RunGrant:
        """Take a run its right: within a minute it stops, and is rolled back if its source was stopped.

        Behind the commit nothing is taken back, and the run tells so.
        """
        return await self._grants.revoke(run, _scope(who), f"token {who.token}")


def _scope(who: Caller) -> GrantScope:
    if Right.SITE in who.rights:
        return GrantScope(tenant="")
    own = who.subject if Right.ADMINISTER not in who.rights else None
    return GrantScope(tenant=who.tenant, subject=own)
