"""Rate limits: of the links between clouds, for all tenants; and of one run."""

from typing import Annotated

from fastapi import Depends, Path

from crossport import errors
from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, RunId, Who, page
from crossport.api.route import Route
from crossport.model.limit import LinkLimit, LinkLimitStatus, RunLimit
from crossport.model.name import CLOUD
from crossport.spi.control import Control
from crossport.spi.limit import RateBook

__all__ = ["RateLimits"]

_Source = Annotated[str, Path(pattern=CLOUD, max_length=127, description="The cloud that is copied from.")]
_Target = Annotated[str, Path(pattern=CLOUD, max_length=127, description="The cloud that is copied to.")]


class RateLimits:
    """Serves ``/v1/limits`` and the limit of each run."""

    def __init__(self, rates: RateBook, control: Control) -> None:
        self._rates = rates
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one, run = "/v1/limits", "/v1/limits/{source}/{target}", "/v1/runs/{run}/limit"
        limit = example.LINK_LIMIT
        shown = example.shown(LinkLimitStatus(limit=limit, now_bps=None))
        sent, bound = example.shown(limit), example.shown(RunLimit(rate_bps=100_000_000))
        names = {"source": "$response.body#/limit/source", "target": "$response.body#/limit/target"}
        return (
            Route("GET", many, "limit.list", self.list, {"items": [shown], "next": ""}),
            Route("POST", many, "limit.set", self.set, shown, 200, LinkLimit, sent, names=names),
            Route("DELETE", one, "limit.remove", self.remove, status=204, raises=(404,)),
            Route("GET", run, "run.show-limit", self.run_limit, bound, raises=(404,)),
            Route(
                "POST",
                run,
                "run.limit",
                self.limit_run,
                bound,
                200,
                RunLimit,
                bound,
                raises=(404, 409),
            ),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[LinkLimitStatus]:
        """List the limits of links, and the rate that each sets now."""
        del who  # links are shared by all tenants
        limits = await self._rates.links()
        keys = tuple(f"{each.limit.source}/{each.limit.target}" for each in limits)
        return page(limits, keys, after, limit)

    async def set(self, who: Who, limit: Annotated[LinkLimit, Depends(body(LinkLimit))]) -> LinkLimitStatus:
        """Limit a link, in place of its former limit; copies under way follow within a second."""
        del who
        return await self._rates.set_link(limit)

    async def remove(self, who: Who, source: _Source, target: _Target) -> None:
        """Take a link's limit away."""
        del who
        await self._rates.remove_link(source, target)

    async def run_limit(self, who: Who, run: RunId) -> RunLimit:
        """Show the run's own limit."""
        return await self._rates.run_limit((await self._control.run(who.tenant, run)).id)

    async def limit_run(
        self, who: Who, run: RunId, limit: Annotated[RunLimit, Depends(body(RunLimit))]
    ) -> RunLimit:
        """Limit what the run's copies send together, at once; ``null`` takes its limit away."""
        found = await self._control.run(who.tenant, run)
        if found.state.final:
            raise errors.Conflict(
                "run.finished", f"Run {run} is finished.", field="run", remedy="Limit one that still copies."
            )
        await self._rates.set_run(run, limit)
        return limit
