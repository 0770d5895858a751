"""What a node does by itself: start queued runs, execute them, stay alive, go on with the runs of the dead.

The loops here are the daemons of the engine: an error of one round is logged, and the next round comes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
import structlog

from crossport import errors
from crossport.engine import run_rows
from crossport.engine.admission import admitted
from crossport.engine.bell import rung
from crossport.engine.context import Execution, Place
from crossport.engine.lease import Lease
from crossport.engine.retention import ForgetBefore, Retention
from crossport.engine.run_rows import GOING_ON, Ending, Hold
from crossport.engine.schema import runs
from crossport.engine.settings import EngineSettings, Kind
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.run import RunState

__all__ = ["Executor"]

LONGEST_BEAT_S = 1.0
"""A cancellation that another node accepted is seen after one beat."""
QUIET_LOOK_S = 30.0
"""How often SQLite is looked at without a reason: nobody else writes to it."""
CLOSING_S = 15.0
"""How long calls may take to end when they are interrupted because the engine closes."""
FINISHED = frozenset({"SUCCESS", "ERROR"})
"""The library's words for a workflow that it will not execute again."""
AT_REST = FINISHED | {"ENQUEUED"}
"""There is nothing to resume: some node will take it by itself, or none ever."""
FORGET_S = 3600.0
"""How often ended runs are looked at that may be forgotten."""
SHORTEST_SWEEP_S = 5.0
"""What is resumed waits up to a second for a node to take it."""

log = structlog.get_logger("crossport.engine")


class Executor:
    """The executions of this node. ``kick`` after everything that may let a queued run start."""

    def __init__(
        self,
        place: Place,
        lease: Lease,
        kinds: Mapping[str, Kind],
        settings: EngineSettings,
        others: Sequence[ForgetBefore] = (),
    ) -> None:
        self._place = place
        self._lease = lease
        self._kinds = kinds
        self._settings = settings
        self._going_on: dict[Execution, asyncio.Task[Any] | None] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._kicked = asyncio.Event()
        self._adrift: frozenset[str] = frozenset()
        self._in_hand: Counter[str] = Counter()
        self.retention = Retention(place, kinds, settings, others)

    async def begin(self, inherited: Iterable[str]) -> None:
        """Go on with ``inherited`` runs and begin to do everything by itself."""
        await self.recover(inherited)
        shared = self._place.database.shared
        self._loops.append(
            asyncio.create_task(
                self._for_ever(self._admit, self._settings.poll_s if shared else QUIET_LOOK_S)
            )
        )
        if shared:
            beat_s = min(LONGEST_BEAT_S, self._settings.lease_s / 5)
            self._loops.append(asyncio.create_task(self._for_ever(self._beat, beat_s, kicked=False)))
        self._loops.append(
            asyncio.create_task(
                self._for_ever(self._sweep, max(SHORTEST_SWEEP_S, self._settings.lease_s), kicked=False)
            )
        )

        self._loops.append(asyncio.create_task(self._for_ever(self.retention.sweep, FORGET_S, kicked=False)))

    async def end(self) -> None:
        """Stop everything; runs stay as they are in the database."""
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops, timeout=CLOSING_S)
        self._loops.clear()
        tasks = [task for task in self._going_on.values() if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING_S)

    def kick(self) -> None:
        """Look for queued runs now."""
        self._kicked.set()

    def cancel(self, run: str) -> None:
        """Stop ``run`` if it is executed here; the request is in the database already."""
        for execution in self._going_on:
            if execution.run == run:
                execution.cancel()

    @contextmanager
    def in_hand(self, runs: Iterable[str]) -> Generator[None, None, None]:
        """Say that ``runs`` are being seen to, so that the sweep does not take them for adrift."""
        held = Counter(runs)
        self._in_hand.update(held)
        try:
            yield
        finally:
            self._in_hand -= held

    async def execute(self, run: str) -> None:
        """Execute ``run``; the library calls this. Whatever comes out is in the database on return.

        An execution that lost its run is cancelled, which is the one thing that the library does not
        write down.
        """
        node, now = self._lease.node, self._place.clock.wall()
        execution = Execution(self._place, Hold(run=run, epoch=0, lease=node[1]))
        self._going_on[execution] = asyncio.current_task()
        try:
            row = await execution.patiently(lambda it: run_rows.begin(it, run, node, now))
            self._place.bells.ring(run)
            if row is not None:
                execution.take(row.epoch)
                await self._perform(execution, row)
        finally:
            del self._going_on[execution]
            self._place.bells.ring(run)
            self.kick()

    async def _perform(self, execution: Execution, row: sa.Row[Any]) -> None:
        await execution.prepare()
        ending = await self._ending(execution, row)

        def end(connection: sa.Connection) -> None:
            run_rows.must_hold(connection, execution.hold)
            run_rows.end(connection, execution.run, ending, self._place.clock.wall())

        try:
            if execution.lost:
                raise run_rows.lost(execution.run)
            await execution.flush()
            await execution.patiently(end)
        except errors.Refused as error:
            log.info("run.lost", run=execution.run, epoch=execution.epoch)
            raise asyncio.CancelledError from error
        log.info("run.ended", run=execution.run, epoch=execution.epoch, state=ending.state.value)

    async def _ending(self, execution: Execution, row: sa.Row[Any]) -> Ending:
        """Run the workflow and say how it ended. Only being cancelled from outside passes through."""
        kind = self._kinds.get(row.kind)
        try:
            if kind is None:
                raise errors.Broken(
                    "engine.kind.unknown",
                    f"This node does not know runs of kind {row.kind}.",
                    remedy="Give all nodes the same version, then resume the run.",
                )
            report = await kind.workflow(execution, codec.decoded(row.request, kind.request))
            return _success(report, codec.encoded(report, kind.report))
        except errors.Error as error:
            return Ending(state=_state(error), failure=Failure.of(error))
        except Exception as error:
            log.exception("run.unexpected", run=execution.run, epoch=execution.epoch)
            failure = errors.Broken(
                "engine.run.unexpected",
                f"The run failed unexpectedly: {type(error).__name__}: {error}",
                remedy="This is a mistake in Crossport or a driver: report it with the log of this time.",
            )
            return Ending(state=RunState.ATTENTION, failure=Failure.of(failure))

    async def recover(self, wanted: Iterable[str]) -> None:
        """Let runs go on that nobody executes any more; any node may then execute them."""
        ids = tuple(wanted)
        if not ids:
            return
        standing = await self._place.library.standing(ids)
        log.info("runs.recovered", runs=ids, node=self._settings.node)
        await self._place.database.run(lambda it: _requeue(it, [run for run in ids if run not in standing]))
        await self._place.library.resume([run for run, word in standing.items() if word not in AT_REST])
        for run, word in standing.items():
            if word in FINISHED:
                await self._place.database.run(lambda it, run=run, word=word: self._halt(it, run, word))
                self._place.bells.ring(run)
        self.kick()

    def _halt(self, connection: sa.Connection, run: str, word: str) -> None:
        row = run_rows.fetched(connection, run, locked=True)
        if row.state in GOING_ON:
            ending = Ending(state=RunState.ATTENTION, failure=_halted(word))
            run_rows.end(connection, run, ending, self._place.clock.wall())

    async def _admit(self) -> None:
        room = self._settings.at_once - sum(not one.waiting for one in self._going_on)
        chosen = await self._place.database.run(lambda it: admitted(it, self._kinds, self._lease.node, room))
        with self.in_hand(chosen):
            for run in chosen:
                await self._place.library.start(run)

    async def _beat(self) -> None:
        pulse = await self._lease.beat()
        if pulse.lost:
            log.warning("node.lost", node=self._settings.node, runs=[one.run for one in self._going_on])
            for execution, task in self._going_on.items():
                execution.lost = True
                if task:
                    task.cancel()
            await self.recover(await self._lease.join())
            return
        for run in pulse.cancelling:
            self.cancel(run)
        await self.recover(pulse.inherited)

    async def _sweep(self) -> None:
        """Find runs of this node that nobody executes, twice in a row: a start that failed, a bad row."""
        seen_to = frozenset(self._in_hand) | {one.run for one in self._going_on}
        adrift = frozenset(await self._lease.adrift(seen_to))
        found_twice = adrift & self._adrift
        await self.recover(sorted(found_twice))
        self._adrift = adrift - found_twice

    async def _for_ever(
        self, work: Callable[[], Awaitable[None]], pause_s: float, *, kicked: bool = True
    ) -> None:
        while True:
            try:
                await work()
            except errors.Unavailable as error:
                log.warning("engine.unavailable", code=error.code, reason=error.text)
            except Exception:
                log.exception("engine.loop", work=getattr(work, "__name__", ""))
            if kicked:
                await rung(self._kicked, pause_s)
            else:
                await asyncio.sleep(pause_s)


def _state(error: errors.Error) -> RunState:
    match error:
        case errors.Cancelled():
            return RunState.CANCELLED
        case errors.RolledBack():
            return RunState.ROLLED_BACK
        case errors.Blocked():
            return RunState.BLOCKED
        case _:
            return RunState.ATTENTION


def _success(report: Any, text: str) -> Ending:
    """Return the ending that a report tells: its outcome if it has one, else done."""
    outcome = getattr(report, "outcome", RunState.DONE)
    state = outcome if isinstance(outcome, RunState) and outcome.final else RunState.DONE
    if state is RunState.DONE:
        return Ending(state=state, report=text)
    failure = Failure(
        kind=errors.NeedsAttention.__name__,
        code=str(getattr(report, "code", "")) or f"run.{state.value}",
        text=str(getattr(report, "text", "")) or f"The run ended {state.value}.",
    )
    return Ending(state=state, report=text, failure=failure)


def _requeue(connection: sa.Connection, ids: list[str]) -> None:
    """Queue runs again that were chosen to start and never did."""
    statement = sa.update(runs).where(runs.c.id.in_(ids), runs.c.state.in_(GOING_ON))
    connection.execute(statement.values(state=RunState.QUEUED.value, node="", lease=0))


def _halted(word: str) -> Failure:
    if word == "ERROR":
        return Failure(
            kind=errors.Refused.__name__,
            code="engine.row.refused",
            text="What is kept of this run was not written by Crossport, and was not executed.",
            remedy="Find out who writes to this database, and restore it from a backup.",
        )
    return Failure(
        kind=errors.NeedsAttention.__name__,
        code="engine.run.halted",
        text="The engine was interrupted while it was about to execute the run again.",
        remedy="Resume the run.",
    )
