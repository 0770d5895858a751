"""Migrations: judge a cloud, try one without writing, start one."""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Response

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import Key, Who
from crossport.api.route import Route
from crossport.model.exchange import AssessmentRequest
from crossport.model.grant import Begun
from crossport.model.request import Assessment, DryRun
from crossport.model.run import MigrationRequest, RunRecord
from crossport.spi.control import Control
from crossport.spi.grant import RunGrants

__all__ = ["Migrations"]


class Migrations:
    """Serves ``/v1/assessments``, ``/v1/dry-runs`` and ``/v1/migrations``."""

    def __init__(self, control: Control, grants: RunGrants) -> None:
        self._control = control
        self._grants = grants

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        fails = (404, 409, 503)
        asked = example.shown(AssessmentRequest(source="alpha", target="beta"))
        judged, sent = example.shown(example.ASSESSMENT), example.shown(example.REQUEST)
        dry, run, kind = example.shown(example.DRY_RUN), example.shown(example.RUN), MigrationRequest
        return (
            Route(
                "POST",
                "/v1/assessments",
                "migration.assess",
                self.assess,
                judged,
                200,
                AssessmentRequest,
                asked,
                raises=(404, 503),
            ),
            Route(
                "POST",
                "/v1/dry-runs",
                "migration.try",
                self.try_out,
                dry,
                200,
                kind,
                sent,
                raises=fails,
            ),
            Route(
                "POST",
                "/v1/migrations",
                "migration.start",
                self.start,
                run,
                202,
                kind,
                sent,
                raises=fails,
                names={"run": "$response.body#/id"},
            ),
        )

    async def assess(
        self, who: Who, request: Annotated[AssessmentRequest, Depends(body(AssessmentRequest))]
    ) -> Assessment:
        """Judge every VM of a cloud: go, fix or refuse, with reasons, expected time and outage."""
        return await self._control.assess(who.tenant, request.source, request.target)

    async def try_out(
        self, who: Who, request: Annotated[MigrationRequest, Depends(body(MigrationRequest))]
    ) -> DryRun:
        """Say what a migration would do: findings, proposed mapping, estimate. Writes nothing."""
        return await self._control.dry_run(who.tenant, replace(request, tenant=who.tenant))

    async def start(
        self,
        who: Who,
        request: Annotated[MigrationRequest, Depends(body(MigrationRequest))],
        key: Key,
        response: Response,
    ) -> RunRecord:
        """Check, then start a migration as a run. The tenant is always the token's own.

        For whom an identity provider knows, the run holds a grant from then on.
        """

        async def begin() -> RunRecord:
            return await self._control.migrate(who.tenant, replace(request, tenant=who.tenant), key)

        run_id, clouds = self._control.run_id(who.tenant, key), (request.source, request.target)
        begun = Begun(run=run_id, about=request.vm, clouds=clouds, holder=who.holder)
        run = await self._grants.begun(begun, begin)
        response.headers["Location"] = f"/v1/runs/{run.id}"
        return run
