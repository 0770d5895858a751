"""Plans: keep, check, start, and see how far they are."""

from typing import Annotated

from fastapi import Depends, Response

from crossport import errors
from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Key, Limit, Page, PlanName, Who, page
from crossport.api.route import Route
from crossport.model.grant import Begun
from crossport.model.plan import Plan, PlanCheck, PlanStatus
from crossport.model.run import RunRecord
from crossport.spi.control import Control
from crossport.spi.grant import RunGrants

__all__ = ["Plans"]


class Plans:
    """Serves ``/v1/plans``."""

    def __init__(self, control: Control, grants: RunGrants) -> None:
        self._control = control
        self._grants = grants

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one = "/v1/plans", "/v1/plans/{plan}"
        plan, listed = example.shown(example.PLAN), example.page_of(example.PLAN)
        checked, status = example.shown(example.PLAN_CHECK), example.shown(example.PLAN_STATUS)
        named, began = {"plan": "$response.body#/name"}, {"run": "$response.body#/id"}
        run, fails = example.shown(example.RUN), (404, 409, 503)
        return (
            Route("GET", many, "plan.list", self.list, listed),
            Route(
                "POST",
                many,
                "plan.put",
                self.put,
                plan,
                200,
                Plan,
                plan,
                raises=(404, 409),
                names=named,
            ),
            Route("GET", one, "plan.show", self.show, plan, raises=(404,)),
            Route("DELETE", one, "plan.remove", self.remove, status=204, raises=(404, 409)),
            Route("POST", one + "/check", "plan.check", self.check, checked, raises=fails),
            Route("POST", one + "/run", "plan.run", self.run, run, 202, raises=fails, names=began),
            Route("GET", one + "/status", "plan.status", self.status, status, raises=(404,)),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[Plan]:
        """List plans, by name."""
        plans = await self._control.plans(who.tenant)
        return page(plans, tuple(plan.name for plan in plans), after, limit)

    async def put(self, who: Who, plan: Annotated[Plan, Depends(body(Plan))]) -> Plan:
        """Keep a plan, replacing an older one of its name unless that runs."""
        return await self._control.put_plan(who.tenant, plan)

    async def show(self, who: Who, plan: PlanName) -> Plan:
        """Show a plan."""
        for kept in await self._control.plans(who.tenant):
            if kept.name == plan:
                return kept
        raise errors.NotFound(
            "plan.unknown", f"There is no plan {plan}.", field="plan", remedy="See `crossport plan list`."
        )

    async def remove(self, who: Who, plan: PlanName) -> None:
        """Forget a plan that does not run. Its runs and their reports stay."""
        await self._control.remove_plan(who.tenant, plan)

    async def check(self, who: Who, plan: PlanName) -> PlanCheck:
        """Dry-run every VM of the plan. Writes nothing."""
        return await self._control.check_plan(who.tenant, plan)

    async def run(self, who: Who, plan: PlanName, key: Key, response: Response) -> RunRecord:
        """Start the plan as a run. For whom an identity provider knows, it holds a grant from then on."""

        async def begin() -> RunRecord:
            return await self._control.run_plan(who.tenant, plan, key)

        begun = Begun(run=self._control.run_id(who.tenant, key), about=plan, holder=who.holder)
        run = await self._grants.begun(begun, begin)
        response.headers["Location"] = f"/v1/runs/{run.id}"
        return run

    async def status(self, who: Who, plan: PlanName) -> PlanStatus:
        """Say how far the plan is, VM by VM."""
        return await self._control.plan_status(who.tenant, plan)
