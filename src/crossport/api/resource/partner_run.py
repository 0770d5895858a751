"""Runs that partners execute and that have an end here, for the operator of this site."""

from typing import Annotated

from fastapi import Depends, Path, Query

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, Who
from crossport.api.route import ID, Route
from crossport.model.name import NAME
from crossport.model.partner_run import CleanRequest, PartnerRun, PartnerRunState
from crossport.spi.site import Cleaned
from crossport.spi.trust import PartnerRuns

__all__ = ["PartnerRunRoutes"]

RUN = PartnerRun(
    id="p-5d0a9c31f7b24e6688d3a1c0",
    partner="south",
    run="mig-7f3a",
    theirs="acme",
    tenant="acme-south",
    cloud="beta",
    end="source",
    vm="vm-0007",
    state=PartnerRunState.STOPPED,
    over=False,
    begun=example.NOON,
    stands=("VM vm-0007 is off and fenced; it was running", "export vm-0007 (created)"),
)
CLEANED = Cleaned(removed=("export vm-0007",))

ServedId = Annotated[str, Path(pattern=ID, max_length=128, description="This site's word for the run.")]
OfPartner = Annotated[
    str, Query(pattern=f"({NAME})?", max_length=63, description="Only runs of this partner.")
]


class PartnerRunRoutes:
    """Serves ``/v1/partner-runs``."""

    def __init__(self, served: PartnerRuns) -> None:
        self._served = served

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one = "/v1/partner-runs", "/v1/partner-runs/{served}"
        return (
            Route("GET", many, "partner.list-runs", self.list, example.page_of(RUN)),
            Route("GET", one, "partner.show-run", self.show, example.shown(RUN), raises=(404,)),
            Route(
                "POST",
                one + "/clean",
                "partner.clean-run",
                self.clean,
                example.shown(CLEANED),
                200,
                CleanRequest,
                example.shown(CleanRequest(gone=True)),
                raises=(404, 409),
            ),
        )

    async def list(
        self, who: Who, partner: OfPartner = "", after: After = "", limit: Limit = 100
    ) -> Page[PartnerRun]:
        """List runs of partners with an end here, newest first, with what stands here because of them."""
        del who  # they are the site's operator's to see, whatever tenant they act as
        found = await self._served.runs(partner, after=after, limit=limit + 1)
        more = found[limit - 1].id if len(found) > limit else ""
        return Page(items=found[:limit], next=more)

    async def show(self, who: Who, served: ServedId) -> PartnerRun:
        """Show one."""
        del who
        return await self._served.run(served)

    async def clean(
        self, who: Who, served: ServedId, request: Annotated[CleanRequest, Depends(body(CleanRequest))]
    ) -> Cleaned:
        """Remove what a partner's run left here, and bring back a VM that it stopped.

        A run that is not over is refused, unless its partner will never go on with it. What may be the last
        copy is kept.
        """
        del who
        return await self._served.clean(served, request)
