"""Runs: list, follow, decide, resolve, report, clean up; and retire the source that a run left behind."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query
from fastapi.sse import ServerSentEvent

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, RunId, Who
from crossport.api.route import Route
from crossport.model import codec
from crossport.model.exchange import ResolveRequest, Retirement
from crossport.model.request import Evidence, ResolveAs
from crossport.model.run import Created, MigrationReport, RunRecord, RunState
from crossport.spi.control import Control
from crossport.spi.site import Cleaned

__all__ = ["Runs"]

RETRY_MS = 1000
"""How long a reader of events waits before it connects again."""


class Runs:
    """Serves ``/v1/runs``."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        return self._to_read() + self._to_decide() + self._to_clean()

    def _to_read(self) -> tuple[Route, ...]:
        one, missing = "/v1/runs/{run}", (404,)
        run, event = example.shown(example.RUN), example.shown(example.EVENT)
        ledger = example.page_of(example.CREATED)
        return (
            Route("GET", "/v1/runs", "run.list", self.list, example.page_of(example.RUN), raises=missing),
            Route("GET", one, "run.show", self.show, run, raises=missing),
            Route(
                "GET",
                one + "/events",
                "run.follow",
                self.events,
                event,
                raises=missing,
                stream=True,
                before=self.known,
            ),
            Route(
                "GET",
                one + "/report",
                "run.report",
                self.report,
                example.shown(example.REPORT),
                raises=(404, 409),
            ),
            Route(
                "GET",
                one + "/evidence",
                "run.evidence",
                self.evidence,
                example.shown(example.EVIDENCE),
                raises=missing,
            ),
            Route("GET", one + "/ledger", "run.ledger", self.ledger, ledger, raises=missing),
        )

    def _to_decide(self) -> tuple[Route, ...]:
        one, fails = "/v1/runs/{run}", (404, 409)
        run, sent = example.shown(example.RUN), example.shown(ResolveRequest(outcome=ResolveAs.SOURCE))
        kind = ResolveRequest
        return (
            Route("POST", one + "/cancel", "run.cancel", self.cancel, run, 202, raises=fails),
            Route("POST", one + "/resume", "run.resume", self.resume, run, 202, raises=fails),
            Route("POST", one + "/cutover", "run.cut-over", self.cut_over, run, 202, raises=fails),
            Route("POST", one + "/commit", "run.commit", self.commit, run, 202, raises=fails),
            Route("POST", one + "/rollback", "run.roll-back", self.roll_back, run, 202, raises=fails),
            Route(
                "POST",
                one + "/resolve",
                "run.resolve",
                self.resolve,
                run,
                202,
                kind,
                sent,
                raises=fails,
            ),
        )

    def _to_clean(self) -> tuple[Route, ...]:
        one, fails = "/v1/runs/{run}", (404, 409)
        cleaned, path = example.shown(example.CLEANED), one + "/retirement"
        told = example.shown(Retirement(things=("VM web in alpha", "volume vol-1 (1 GiB)"), done=False))
        retired = {**told, "done": True}
        return (
            Route("POST", one + "/clean", "run.clean", self.clean, cleaned, raises=fails),
            Route(
                "POST",
                one + "/finish-test",
                "run.finish-test",
                self.finish_test,
                cleaned,
                raises=fails,
            ),
            Route("GET", path, "source.preview", self.retirement, told, raises=fails),
            Route("POST", path, "source.retire", self.retire, retired, raises=fails),
        )

    async def list(
        self,
        who: Who,
        *,
        state: Annotated[RunState | None, Query(description="Only runs in this state.")] = None,
        kind: Annotated[
            str, Query(max_length=64, description="Only runs of this kind: migrate, test, plan, fetch.")
        ] = "",
        vm: Annotated[
            str, Query(max_length=255, description="Only runs of the VM that was named so to them.")
        ] = "",
        after: After = "",
        limit: Limit = 100,
    ) -> Page[RunRecord]:
        """List runs, newest first."""
        runs = await self._control.runs(
            who.tenant, state=state, kind=kind, vm=vm, after=after, limit=limit + 1
        )
        return Page(items=runs[:limit], next=runs[limit - 1].id if len(runs) > limit else "")

    async def show(self, who: Who, run: RunId) -> RunRecord:
        """Show one run."""
        return await self._control.run(who.tenant, run)

    async def known(self, who: Who, run: RunId) -> str:
        """Refuse an unknown run before a stream begins: afterwards no status can be told."""
        return (await self._control.run(who.tenant, run)).id

    async def events(
        self,
        who: Who,
        run: RunId,
        *,
        last: Annotated[
            str, Header(alias="Last-Event-ID", max_length=32, description="Begin behind this event.")
        ] = "",
        follow: Annotated[bool, Query(description="Stay until the run is final.")] = True,
    ) -> AsyncIterator[ServerSentEvent]:
        """Stream the run's events as server-sent events; a comment is sent while nothing happens."""
        after = int(last) if last.isascii() and last.isdigit() else 0
        async for event in self._control.events(who.tenant, run, after=after, follow=follow):
            yield ServerSentEvent(
                raw_data=codec.encoded(event),
                event=event.kind,
                id=str(event.number) if event.number else None,
                retry=RETRY_MS,
            )

    async def report(self, who: Who, run: RunId) -> MigrationReport:
        """Return the report of a run that is final."""
        return await self._control.report(who.tenant, run)

    async def evidence(self, who: Who, run: RunId) -> Evidence:
        """Return all that both ends know about a run in doubt."""
        return await self._control.evidence(who.tenant, run)

    async def ledger(self, who: Who, run: RunId) -> Page[Created]:
        """List what the run created and what became of it."""
        return Page(items=await self._control.ledger(who.tenant, run))

    async def cancel(self, who: Who, run: RunId) -> RunRecord:
        """Ask the run to stop and bring the source back."""
        return await self._control.cancel(who.tenant, run)

    async def resume(self, who: Who, run: RunId) -> RunRecord:
        """Try a run that needs attention again, from the step that failed."""
        return await self._control.resume(who.tenant, run)

    async def cut_over(self, who: Who, run: RunId) -> RunRecord:
        """Let a warm migration shut its source down, as soon as its next copy has ended."""
        return await self._control.cut_over(who.tenant, run)

    async def commit(self, who: Who, run: RunId) -> RunRecord:
        """Commit a run that waits for it: the point of no return."""
        return await self._control.decide(who.tenant, run, commit=True)

    async def roll_back(self, who: Who, run: RunId) -> RunRecord:
        """Roll back a run that waits: what the target wrote is discarded, the source is as it was."""
        return await self._control.decide(who.tenant, run, commit=False)

    async def resolve(
        self, who: Who, run: RunId, request: Annotated[ResolveRequest, Depends(body(ResolveRequest))]
    ) -> RunRecord:
        """End a run that needs attention as a person says."""
        return await self._control.resolve(who.tenant, run, request.outcome)

    async def clean(self, who: Who, run: RunId) -> Cleaned:
        """Remove what the run left behind. Repeatable."""
        return await self._control.clean(who.tenant, run)

    async def finish_test(self, who: Who, run: RunId) -> Cleaned:
        """Remove the isolated copy of a test migration."""
        return await self._control.finish_test(who.tenant, run)

    async def retirement(self, who: Who, run: RunId) -> Retirement:
        """Say what retiring the run's retained source would delete."""
        return Retirement(things=await self._control.retire(who.tenant, run, confirmed=False), done=False)

    async def retire(self, who: Who, run: RunId) -> Retirement:
        """Delete the run's retained source. Cannot be undone."""
        return Retirement(things=await self._control.retire(who.tenant, run, confirmed=True), done=True)
