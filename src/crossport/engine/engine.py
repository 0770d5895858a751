"""Run workflows so that a crash of any process costs at most the step in flight.

One Engine per process: the library below keeps one instance per process. All methods are called on the
event loop that called ``open``; workflows run on it too.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Self, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError

from crossport import errors
from crossport.engine import run_rows
from crossport.engine.audit_log import AuditLog
from crossport.engine.bell import Bells, rung
from crossport.engine.context import Place, decision_step, forget_unanswered
from crossport.engine.database import Database, private, psycopg_url
from crossport.engine.documents import Documents
from crossport.engine.executor import FINISHED, Executor
from crossport.engine.lease import Lease
from crossport.engine.ledger import DurableLedger
from crossport.engine.library import KeptStep, Library
from crossport.engine.ownership import Ownership
from crossport.engine.run_rows import ENDED, Ending
from crossport.engine.runs import Runs
from crossport.engine.schema import runs
from crossport.engine.settings import NO_LIMITS, EngineSettings, Kind, Limits
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.finding import Finding
from crossport.model.run import Event, EventKind, RunRecord, RunState
from crossport.spi.clock import Clock
from crossport.spi.run import Ledger, RunContext

__all__ = ["Engine"]

Request = TypeVar("Request")
Report = TypeVar("Report")

STEPS_FILE_NAME = "steps.sqlite"
LOOK_S = 1.0
"""How often those who wait look for what other nodes wrote."""
CONCLUDABLE = (RunState.ATTENTION.value, RunState.CANCELLED.value)

log = structlog.get_logger("crossport.engine")


class Engine:
    """Durable runs of registered kinds, on SQLite or PostgreSQL.

    Register every kind, then ``open``. ``ledger``, ``documents``, ``audit`` and ``runs`` may be used after
    ``open``.
    """

    ledger: Ledger
    documents: Documents
    audit: AuditLog
    runs: Runs

    def __init__(self, settings: EngineSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._kinds: dict[str, Kind] = {}
        self._others: list[Callable[[float], Awaitable[None]]] = []
        self._bells = Bells()
        self._closing = AsyncExitStack()
        self._database: Database
        self._library: Library
        self._lease: Lease
        self._executor: Executor

    def register(
        self,
        kind: str,
        workflow: Callable[[RunContext, Request], Awaitable[Report]],
        *,
        request: type[Request],
        report: type[Report],
        limits: Limits = NO_LIMITS,
        partition: Callable[[Request], str] | None = None,
    ) -> None:
        """Say how runs of ``kind`` are executed. Before ``open`` only.

        The workflow's outcome decides the run's state: the report's ``outcome`` if it has one, else done;
        errors.Cancelled cancelled, RolledBack rolled-back, Blocked blocked; anything else attention.
        """
        self._kinds[kind] = Kind(
            name=kind, workflow=workflow, request=request, report=report, limits=limits, partition=partition
        )

    def keep(self, kind: str, forget: Callable[[RunRecord], Awaitable[bool]]) -> None:
        """Ask ``forget`` before an ended run of ``kind`` is forgotten: it returns False to keep the run.

        When it returns True it has forgotten what it knew of the run. Before ``open`` only.
        """
        self._kinds[kind] = replace(self._kinds[kind], forget=forget)

    def let_go(self, kind: str, forget: Callable[[RunRecord], Awaitable[bool]]) -> None:
        """Let a run of ``kind`` that needs attention be cancelled; ``forget`` is called after that.

        It is for kinds that leave nothing to decide about. Before ``open`` only.
        """
        self._kinds[kind] = replace(self._kinds[kind], let_go=forget)

    def forget_too(self, forget: Callable[[float], Awaitable[None]]) -> None:
        """Call ``forget`` whenever ended runs are forgotten, with the moment (Unix seconds) before which it
        is done. Before ``open`` only.
        """
        self._others.append(forget)

    async def open(self) -> Self:
        """Take the state directory, bring the tables up to date, continue what was interrupted.

        Raise Conflict ``state.owned`` if another process owns the directory, Conflict
        ``engine.database.newer`` if a newer version wrote the database, Unavailable
        ``engine.database.unreachable`` if it does not answer.
        """
        async with AsyncExitStack() as closing:
            await self._open(closing)
            self._closing = closing.pop_all()
        log.info("engine.opened", node=self._settings.node, shared=self._database.shared)
        return self

    async def _open(self, closing: AsyncExitStack) -> None:
        settings = self._settings
        closing.callback(Ownership.take(settings.state_dir).release)
        self._database = await Database.open(settings.state_dir, settings.database_url, settings.lease_s)
        closing.push_async_callback(self._database.close)
        self._lease = Lease(self._database, settings, self._clock)
        inherited = await self._lease.join()
        closing.push_async_callback(self._leave)
        self._library = Library(self._execute)
        self._launch()
        closing.push_async_callback(self._library.close)
        place = Place(
            database=self._database,
            library=self._library,
            bells=self._bells,
            clock=self._clock,
            look_s=LOOK_S,
        )
        self.ledger = DurableLedger(self._database)
        self.documents = Documents(self._database)
        self.audit = AuditLog(self._database, settings, self._clock)
        closing.push_async_callback(self.audit.close)
        self.runs = Runs(self._database, self._bells, LOOK_S)
        self._executor = Executor(place, self._lease, self._kinds, settings, self._others)
        closing.push_async_callback(self._executor.end)
        await self._executor.begin(inherited)

    def _launch(self) -> None:
        settings = self._settings
        if settings.database_url:
            url = psycopg_url(settings.database_url).set(drivername="postgresql")
            address = url.render_as_string(hide_password=False)
        else:
            path = settings.state_dir / STEPS_FILE_NAME
            private(path)
            address = f"sqlite:///{path}"
        self._library.launch(address, f"{settings.node}-{self._lease.id}", settings.lease_s)

    async def _leave(self) -> None:
        try:
            await self._lease.leave()
        except errors.Unavailable as error:  # the others will find out
            log.warning("engine.unavailable", code=error.code, reason=error.text)

    async def _execute(self, run: str) -> None:
        await self._executor.execute(run)

    async def close(self) -> None:
        """Stop executing; runs stay as they are and continue at the next ``open``. May be called twice."""
        await self._closing.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self,
        kind: str,
        request: Any,
        *,
        run_id: str = "",
        tenant: str = "default",
        subject: str = "",
        labels: dict[str, str] | None = None,
    ) -> RunRecord:
        """Queue a run, durable on return. The same ``run_id`` with the same request gives the same run.

        Raise Conflict ``run.id.taken`` if ``run_id`` stands for another request, Invalid
        ``run.kind.unknown``.
        """
        known = self._kinds.get(kind)
        if known is None:
            raise errors.Invalid(
                "run.kind.unknown",
                f"There are no runs of kind {kind}.",
                remedy=f"Use one of: {', '.join(sorted(self._kinds))}.",
                field="kind",
            )
        values = {
            "id": run_id,
            "kind": kind,
            "tenant": tenant,
            "subject": subject,
            "state": RunState.QUEUED.value,
            "partition": known.partition(request) if known.partition else "",
            "request": codec.encoded(request, known.request),
            "labels": json.dumps(labels or {}, sort_keys=True),
            "created": self._clock.wall(),
        }
        try:
            row = await self._database.run(lambda it: _inserted(it, values))
        except IntegrityError:
            row = await self._database.run(lambda it: run_rows.fetched(it, run_id))
            if (row.kind, row.tenant, row.request) != (kind, tenant, values["request"]):
                raise errors.Conflict(
                    "run.id.taken",
                    f"Run {run_id} was begun with another request.",
                    remedy="Use another id, or the same request.",
                    field="run_id",
                ) from None
        self._executor.kick()
        return run_rows.record_of(row)

    async def cancel(self, run_id: str, why: errors.Cancelled | None = None) -> RunRecord:
        """Ask the run to stop; a queued run is cancelled at once. May be called twice.

        It stops with ``why``, the first that was given; without one a person asked. One that needs attention
        is let go, where its kind says so (`let_go`).

        Raise NotFound ``run.unknown``, Conflict ``run.ended``, Conflict ``run.protected`` past the commit
        or while rolling back.
        """
        known = await self.runs.fetch(run_id)
        kind = self._kinds.get(known.kind)
        if known.state is RunState.ATTENTION and kind and kind.let_go:
            return await self._let_go(known, kind.let_go)
        row = await self._database.run(lambda it: _cancelled(it, run_id, why, self._clock.wall()))
        self._executor.cancel(run_id)
        self._bells.ring(run_id)
        return run_rows.record_of(row)

    async def _let_go(self, known: RunRecord, forget: Callable[[RunRecord], Awaitable[bool]]) -> RunRecord:
        end = (RunState.CANCELLED, "Cancelled.", self._clock.wall())
        row = await self._database.run(lambda it: _concluded(it, known.id, "", end))
        self._bells.ring(known.id)
        await forget(known)
        return run_rows.record_of(row)

    async def decide(self, run_id: str, topic: str, answer: str, *, early: bool = False) -> None:
        """Answer what the run waits for, or with ``early`` may wait for later. It may be given twice.

        Raise NotFound ``run.unknown``, Conflict ``decision.not_asked`` or ``decision.answered``.
        """
        now = self._clock.wall()
        given = (topic, answer)
        await self._database.run(lambda it: run_rows.answer(it, run_id, given, now, early=early))
        self._bells.ring(run_id)

    async def tell(self, run_id: str, finding: Finding) -> None:
        """Add a finding to the story of a run, beside what the run itself tells. Raise NotFound."""
        event = Event(kind=EventKind.FINDING, text=finding.text, finding=finding, time=self._clock.wall())

        def told(connection: sa.Connection) -> None:
            run_rows.fetched(connection, run_id, locked=True)
            run_rows.tell(connection, run_id, event)

        await self._database.run(told)
        self._bells.ring(run_id)

    async def report(self, run_id: str) -> Any:
        """Return the run's report, None if it ended without one.

        Raise NotFound ``run.unknown``, Conflict ``run.going_on``.
        """
        row = await self._database.run(lambda it: run_rows.fetched(it, run_id))
        if row.state not in ENDED:
            raise errors.Conflict("run.going_on", f"Run {run_id} has not ended.", remedy="Wait for it.")
        return codec.decoded(row.report, self._kinds[row.kind].report) if row.report else None

    async def failure(self, run_id: str) -> errors.Error | None:
        """Return the error with which the run ended, None if there is none (yet)."""
        row = await self._database.run(lambda it: run_rows.fetched(it, run_id))
        return codec.decoded(row.failure, Failure).error() if row.failure else None

    async def resume(self, run_id: str) -> RunRecord:
        """Execute a run that needs attention again, from the step that failed last.

        Raise NotFound ``run.unknown``, Conflict ``run.not_resumable``.
        """
        standing = (await self._library.standing([run_id])).get(run_id, "")
        kept = await self._library.steps(run_id) if standing else ()
        known = self._lease.node if standing else None
        with self._executor.in_hand([run_id]):
            row = await self._database.run(lambda it: _resumed(it, run_id, known, self._clock.wall()))
            if standing:
                await self._library.rewind(run_id, _last_failed(kept), halt=standing not in FINISHED)
        self._executor.kick()
        self._bells.ring(run_id)
        return run_rows.record_of(row)

    async def conclude(self, run_id: str, report: Any, state: RunState, text: str) -> RunRecord:
        """Give a run that needs attention, or was given up, the end that a person decided.

        May be called twice. Raise NotFound ``run.unknown``, Conflict ``run.not_resumable`` when it ended
        otherwise, or goes on.
        """
        known = await self.runs.fetch(run_id)
        kept = codec.encoded(report, self._kinds[known.kind].report)
        now = self._clock.wall()
        row = await self._database.run(lambda it: _concluded(it, run_id, kept, (state, text, now)))
        self._bells.ring(run_id)
        return run_rows.record_of(row)

    async def forget_ended(self) -> None:
        """Forget ended runs that the settings keep no longer; every hour this happens by itself."""
        await self._executor.retention.sweep()

    async def wait(self, run_id: str, timeout_s: float) -> RunRecord:
        """Return the run when its state is final, or as it is after ``timeout_s``.

        A database that is away for a moment is waited for; raise Unavailable when the time is over first.
        """
        deadline = self._clock.monotonic() + timeout_s
        with self._bells.listening(run_id) as bell:
            while True:
                left = deadline - self._clock.monotonic()
                try:
                    run = await self.runs.fetch(run_id)
                except errors.Unavailable:
                    if left <= 0:
                        raise
                else:
                    if run.state.final or left <= 0:
                        return run
                await rung(bell, min(left, LOOK_S))


def _inserted(connection: sa.Connection, values: dict[str, Any]) -> sa.Row[Any]:
    """Insert the run; the database draws an id for one that has none: the same for no two databases."""
    if not values["id"]:
        draw = (
            "gen_random_uuid()" if connection.dialect.name == "postgresql" else "lower(hex(randomblob(16)))"
        )
        drawn = str(connection.execute(sa.text(f"SELECT {draw}")).scalar_one())
        values = values | {"id": "run-" + drawn.replace("-", "")[:12]}
    connection.execute(sa.insert(runs).values(values))
    run_rows.tell(
        connection,
        values["id"],
        Event(kind=EventKind.STATE, state=RunState.QUEUED, time=values["created"]),
    )
    return run_rows.fetched(connection, values["id"])


def _cancelled(connection: sa.Connection, run: str, why: errors.Cancelled | None, now: float) -> sa.Row[Any]:
    row = run_rows.fetched(connection, run, locked=True)
    if row.state == RunState.CANCELLED.value:
        return row
    if row.state in ENDED:
        raise errors.Conflict("run.ended", f"Run {run} has ended: {row.state}.", remedy="Look at its report.")
    if row.protected:
        raise errors.Conflict(
            "run.protected",
            f"Run {run} cannot be cancelled any more: it is past its commit, or rolling back.",
            remedy="Wait for its end.",
        )
    if row.state == RunState.QUEUED.value:
        error = why or errors.Cancelled(
            "run.cancelled",
            "The run was cancelled before it began.",
            remedy="Begin a new run when you want it after all.",
        )
        run_rows.end(connection, run, Ending(state=RunState.CANCELLED, failure=Failure.of(error)), now)
    if not row.cancelling:
        kept = codec.encoded(Failure.of(why)) if why else None
        connection.execute(sa.update(runs).where(runs.c.id == run).values(cancelling=True, why=kept))
    return run_rows.fetched(connection, run)


def _resumed(connection: sa.Connection, run: str, node: tuple[str, int] | None, now: float) -> sa.Row[Any]:
    """Let the run go on, looked after by ``node`` (name, lease); queue it again if there is none."""
    row = run_rows.fetched(connection, run, locked=True)
    if row.state != RunState.ATTENTION.value:
        raise errors.Conflict(
            "run.not_resumable",
            f"Run {run} is {row.state}; only a run that needs attention is resumed.",
            remedy="Begin a new run.",
        )
    forget_unanswered(connection, run)
    state = RunState.RUNNING if node else RunState.QUEUED
    name, lease = node or ("", 0)
    values = {"state": state.value, "failure": None, "report": None, "ended": 0.0}
    values |= {"node": name, "lease": lease}
    connection.execute(sa.update(runs).where(runs.c.id == run).values(values))
    run_rows.tell(connection, run, Event(kind=EventKind.STATE, state=state, text="Resumed.", time=now))
    return run_rows.fetched(connection, run)


def _concluded(
    connection: sa.Connection, run: str, report: str, end: tuple[RunState, str, float]
) -> sa.Row[Any]:
    """End the run as somebody decided, with the report of how."""
    row = run_rows.fetched(connection, run, locked=True)
    state, text, now = end
    if row.state == state.value and row.report == report:
        return row
    if row.state not in CONCLUDABLE:
        raise errors.Conflict(
            "run.not_resumable",
            f"Run {run} is {row.state}; only a run that needs attention is resolved.",
            remedy="Look at its report.",
        )
    values = {"state": state.value, "failure": None, "report": report, "ended": now}
    connection.execute(sa.update(runs).where(runs.c.id == run).values(values))
    run_rows.tell(connection, run, Event(kind=EventKind.STATE, state=state, text=text, time=now))
    return run_rows.fetched(connection, run)


def _last_failed(kept: tuple[KeptStep, ...]) -> int:
    """Return the position of the last step that failed or got no answer, or the one after all."""
    for step in reversed(kept):
        match step.outcome:
            case {"result": str(text)}:
                unanswered = step.name.startswith(decision_step("")) and json.loads(text) == {"text": None}
            case _:
                unanswered = True
        if unanswered:
            return step.number
    return kept[-1].number + 1 if kept else 1
