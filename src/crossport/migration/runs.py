"""The runs of a tenant, as people look at them: list, one, events, report."""

from collections.abc import AsyncIterator

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.outcome import of_run, with_late, wrong_kind
from crossport.migration.plans import MIGRATE
from crossport.migration.resolve import Resolution
from crossport.migration.settlement import RESOLVE
from crossport.model.run import Event, EventKind, MigrationReport, MigrationRequest, RunRecord, RunState

__all__ = ["TenantRuns"]

TEST = "test"


class TenantRuns:
    """Implements a part of `crossport.spi.control.Control`, with the runs of ``engine``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def some(
        self, tenant: str, *, state: RunState | None, kind: str, after: str, limit: int, vm: str = ""
    ) -> tuple[RunRecord, ...]:
        """Return runs, newest first. A test migration is a migration with a label; ``test`` finds these."""
        if vm and kind not in {"", TEST, MIGRATE}:
            return ()  # its subject is no VM
        kept = MIGRATE if kind == TEST or vm else kind
        which = RunFilter(tenant=tenant, kind=kept, subject=vm, states=(state,) if state else ())
        found: list[RunRecord] = []
        while len(found) < limit:
            page = await self._engine.runs.list(which, cursor=after, limit=limit)
            found += [run for run in page.runs if kind != TEST or run.labels.get("test") == "yes"]
            after = page.cursor
            if not after:
                break
        return tuple(found[:limit])

    async def one(self, tenant: str, run: str) -> RunRecord:
        """Return one run."""
        found = await self.find(run)
        if found is None or found.tenant != tenant:
            raise errors.NotFound(
                "run.unknown",
                f"There is no run {run}.",
                field="run",
                remedy="List them with: crossport run list",
            )
        return found

    async def migration(self, tenant: str, run: str) -> RunRecord:
        """Return one run that is a migration: only these have two ends."""
        found = await self.one(tenant, run)
        if found.kind != MIGRATE:
            raise wrong_kind(found)
        return found

    async def find(self, run: str) -> RunRecord | None:
        """Return the run, whose ever it is; None when there is none."""
        try:
            return await self._engine.runs.fetch(run)
        except errors.NotFound:
            return None

    async def events(self, tenant: str, run: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Yield the run's events."""
        await self.one(tenant, run)
        if follow:
            async for event in self._engine.runs.follow(run, after=after):
                yield event
            return
        while batch := await self._engine.runs.events(run, after=after):
            for event in batch:
                yield event
            after = batch[-1].number

    async def report(self, tenant: str, run: str) -> MigrationReport:
        """Return the report of a migration."""
        found = await self.one(tenant, run)
        if found.kind not in {MIGRATE, RESOLVE}:
            raise wrong_kind(found)
        if not found.state.final:
            raise errors.Conflict("run.unfinished", f"Run {run} is {found.state}.", **of_run(run))
        report = await self._engine.report(run)
        told = [event async for event in self.events(tenant, run, after=0, follow=False)]
        if isinstance(report, MigrationReport):
            return with_late(report, told)
        failure = await self._engine.failure(run)
        return MigrationReport(
            run=run,
            request=await self.asked(found),
            outcome=found.state,
            phases=tuple(one.phase for one in told if one.kind is EventKind.PHASE_FINISHED and one.phase),
            findings=tuple(one.finding for one in told if one.finding),
            total_seconds=max(0.0, found.ended - found.started),
            text=failure.text if failure else found.attention,
            code=failure.code if failure else "",
        )

    async def asked(self, found: RunRecord) -> MigrationRequest:
        """Return what was asked for by a migration, or by the one that was resolved."""
        if found.kind == RESOLVE:
            return (await self._engine.runs.request(found.id, Resolution)).request
        return await self._engine.runs.request(found.id, MigrationRequest)
