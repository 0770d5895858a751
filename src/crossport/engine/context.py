"""One execution of one run: what a workflow sees of the engine. Implements spi.run.RunContext.

Before every call it looks into the database whether the run is still its own, and whether it was
cancelled. The outcome of a step, an error included, is kept by the library under the step's position; a
cancellation that stopped a step is an outcome too, so that a later execution takes the same way.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from crossport import errors
from crossport.engine import run_rows
from crossport.engine.bell import Bells, rung
from crossport.engine.database import Database
from crossport.engine.library import Library
from crossport.engine.run_rows import Hold
from crossport.engine.schema import decisions, events, runs
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.record import record
from crossport.model.run import Act, Event, EventKind, RunState
from crossport.spi.clock import Clock
from crossport.spi.run import NO_RETRY, Retry, Tries

__all__ = ["Execution", "Place", "decision_step", "forget_unanswered"]

T = TypeVar("T")

PROGRESS_S = 0.25
"""Progress of one artifact is kept at most this often."""
DATABASE_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Between tries while the database does not answer; the last one for ever, until the engine closes."""

log = structlog.get_logger("crossport.engine")


@record()
class Place:
    """What the executions of one engine share."""

    database: Database
    library: Library
    bells: Bells
    clock: Clock
    look_s: float
    """How often an execution that waits looks for what other nodes wrote."""


@record()
class _Answer:
    text: str | None


class Execution:
    """A RunContext on the database. ``lost``: another execution has the run; this one is to vanish."""

    def __init__(self, place: Place, hold: Hold) -> None:
        self.run = hold.run
        self.epoch = hold.epoch
        self.lost = False
        self.waiting = False
        self.hold = hold
        self._place = place
        self._cancelling = asyncio.Event()
        self._protected = False
        self._protection_kept = False
        self._names: set[str] = set()
        self._told: Counter[tuple[object, ...]] = Counter()
        self._progress: dict[str, tuple[float, Event | None]] = {}  # artifact -> when kept, what waits

    def take(self, epoch: int) -> None:
        """Be the execution of that epoch, which the database has given to this node."""
        self.epoch = epoch
        self.hold = replace(self.hold, epoch=epoch)

    async def prepare(self) -> None:
        """Learn what earlier executions have told, so that nothing is told twice."""
        if self.epoch > 1:
            query = sa.select(events.c.event).where(events.c.run == self.run)
            texts = await self.patiently(lambda it: it.execute(query).scalars().all())
            self._told.update(codec.decoded(text, Event).gist for text in texts)

    def act(self, step: str) -> Act:
        """Return the name in which a step acts."""
        return Act(run=self.run, step=step, epoch=self.epoch)

    def protect(self) -> None:
        """From here on the run cannot be cancelled: it is rolling back, or past the commit."""
        self._protected = True

    def cancel(self) -> None:
        """Stop the run where it allows to be stopped. The request itself is in the database."""
        self._cancelling.set()

    async def step(
        self,
        name: str,
        call: Callable[[], Awaitable[T]],
        *,
        result: type[T],
        retry: Retry = NO_RETRY,
        cancellable: bool = False,
    ) -> T:
        """Return what ``call`` returned, now or in an earlier execution."""
        return await self._once(name, lambda: self._called(call, retry, cancellable), result)

    async def emit(self, event: Event) -> None:
        """Tell the run's story; what an earlier execution told is not told again."""
        if event.kind is EventKind.PROGRESS and event.progress is not None:
            await self._emit_progress(event, event.progress.artifact)
            return
        if self._told[event.gist] > 0:
            self._told[event.gist] -= 1
            return
        await self.flush()
        timed = replace(event, time=self._place.clock.wall())

        def tell(connection: sa.Connection) -> None:
            run_rows.must_hold(connection, self.hold)
            run_rows.tell(connection, self.run, timed)

        await self._write(tell)

    async def flush(self) -> None:
        """Keep the progress that was held back."""
        for artifact, (_kept, waiting) in list(self._progress.items()):
            if waiting is not None:
                await self._keep_progress(waiting, artifact)

    async def decision(self, topic: str, timeout_s: float, *, asking: int = 0) -> str | None:
        """Wait for a person's answer; only time during which the engine runs counts."""
        row = run_rows.asked(topic, asking)

        async def ask() -> _Answer:
            if timeout_s <= 0:
                await self._allowed()
                return _Answer(text=await self.patiently(lambda it: run_rows.answered(it, self.run, row)))
            self.waiting = True
            try:
                return _Answer(text=await self._answer(row, timeout_s))
            finally:
                self.waiting = False

        kept = await self._once(decision_step(row), ask, _Answer)
        return kept.text

    async def patiently(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work``, again and again while the database does not answer: a run outlives that."""
        for attempt in range(1_000_000):
            try:
                return await self._place.database.run(work)
            except errors.Unavailable as error:
                log.warning("run.database_unreachable", run=self.run, attempt=attempt, reason=error.text)
                last = len(DATABASE_PAUSES_S) - 1
                await self._place.clock.sleep(DATABASE_PAUSES_S[min(attempt, last)])
        raise errors.Unavailable(
            "engine.database.unreachable",
            "The database never came back.",
            remedy="Start the database; the run goes on by itself.",
        )

    async def _emit_progress(self, event: Event, artifact: str) -> None:
        kept, _waiting = self._progress.get(artifact, (float("-inf"), None))
        timed = replace(event, time=self._place.clock.wall())
        if self._place.clock.monotonic() - kept < PROGRESS_S:
            self._progress[artifact] = (kept, timed)
        else:
            await self._keep_progress(timed, artifact)

    async def _keep_progress(self, event: Event, artifact: str) -> None:
        self._progress[artifact] = (self._place.clock.monotonic(), None)

        def keep(connection: sa.Connection) -> None:
            run_rows.must_hold(connection, self.hold)
            run_rows.keep_progress(connection, self.run, event)

        await self._write(keep)

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work`` in the name of this execution and tell who listens."""
        try:
            answer = await self.patiently(work)
        except errors.Refused as error:
            self._note_loss(error)
            raise
        self._place.bells.ring(self.run)
        return answer

    def _note_loss(self, error: errors.Error) -> None:
        if error.code == "engine.epoch.lost":
            self.lost = True

    async def _once(self, name: str, call: Callable[[], Awaitable[Any]], result: type[T]) -> T:
        """Return the outcome of the step, or raise it. A lost execution keeps nothing."""
        if self.lost:
            raise run_rows.lost(self.run)
        if name in self._names:
            raise errors.Broken(
                "engine.step.twice", f"Step {name} is used twice in one workflow.", remedy=errors.REPORT
            )
        self._names.add(name)
        try:
            outcome = await self._place.library.step(name, lambda: self._outcome(name, call, result))
        except asyncio.CancelledError:
            if self.lost:
                raise run_rows.lost(self.run) from None
            raise
        except errors.Error as error:
            self._note_loss(error)
            raise
        match outcome:
            case {"result": str(text)}:
                return codec.decoded(text, result)
            case {"failure": failure}:
                raise codec.from_plain(failure, Failure).error()
            case _:
                raise errors.Broken(
                    "engine.step.foreign",
                    f"What is kept of step {name} is not ours.",
                    remedy="Roll the database back to what Crossport wrote, then resume the run.",
                )

    async def _outcome(
        self, name: str, call: Callable[[], Awaitable[Any]], result: type[Any]
    ) -> dict[str, Any]:
        """Return what is kept of the step: its result or its error."""
        try:
            text = codec.encoded(await call(), result)
            await self.flush()
        except errors.Error as error:
            self._note_loss(error)
            if self.lost:
                raise asyncio.CancelledError from error  # the one thing that the library does not keep
            return {"failure": codec.plain(Failure.of(error))}
        except (Exception, asyncio.CancelledError) as error:
            if _stopping(error):
                raise
            log.exception("step.unexpected", run=self.run, step=name, epoch=self.epoch)
            return {"failure": codec.plain(Failure.of(_unexpected(name, error)))}
        return {"result": text}

    async def _called(self, call: Callable[[], Awaitable[Any]], retry: Retry, cancellable: bool) -> Any:
        tries = Tries(retry)
        while True:
            await self._allowed()
            try:
                return await (self._unless_cancelled(call()) if cancellable else call())
            except errors.Error as error:
                pause_s = tries.pause_s(error)
                if pause_s is None or self.lost:
                    raise
                log.info("step.retry", run=self.run, attempt=tries.in_vain, code=error.code, pause_s=pause_s)
            await self._unless_cancelled(self._place.clock.sleep(pause_s))

    async def _allowed(self) -> None:
        """Look whether this execution may act: it holds the run, and nobody asked it to stop."""
        protecting = self._protected and not self._protection_kept

        def look(connection: sa.Connection) -> run_rows.Held:
            state = run_rows.held(connection, self.hold)
            if protecting and not state.lost:
                connection.execute(sa.update(runs).where(runs.c.id == self.run).values(protected=True))
            return state

        state = await self.patiently(look)
        if state.lost:
            self.lost = True
            raise run_rows.lost(self.run)
        self._protection_kept = self._protected
        self._heed(state.cancelled)

    def _heed(self, cancelled: errors.Cancelled | None) -> None:
        """Stop, where the run allows it, when somebody asked for that."""
        if cancelled:
            self._cancelling.set()
            if not self._protected:
                raise cancelled

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        """Return what ``work`` returned, or interrupt it when the run is cancelled."""
        task = asyncio.ensure_future(work)
        if self._protected:
            return await task
        bell = asyncio.ensure_future(self._cancelling.wait())
        try:
            await asyncio.wait((task, bell), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            await self._allowed()
            return await task
        finally:
            bell.cancel()
            task.cancel()
            await asyncio.wait((task, bell))

    async def _answer(self, topic: str, timeout_s: float) -> str | None:
        place = self._place
        await self._allowed()
        row = await self._write(lambda it: run_rows.ask(it, self.hold, topic, place.clock.wall()))
        before, begun = row.waited_s, place.clock.monotonic()
        with place.bells.listening(self.run) as bell:
            while True:
                seconds = before + place.clock.monotonic() - begun
                over = seconds >= timeout_s
                answer, cancelled = await self._noted(topic, seconds, over)
                if answer is None and not over:
                    self._heed(cancelled)
                    await rung(bell, min(place.look_s, timeout_s - seconds))
                    continue
                await self._write(
                    lambda it: run_rows.move(it, self.hold, RunState.RUNNING, place.clock.wall())
                )
                return answer

    async def _noted(
        self, topic: str, seconds: float, over: bool
    ) -> tuple[str | None, errors.Cancelled | None]:
        try:
            return await self.patiently(lambda it: run_rows.waited(it, self.hold, topic, seconds, over=over))
        except errors.Refused as error:
            self._note_loss(error)
            raise


def decision_step(topic: str) -> str:
    """Return the name of the step that waits for ``topic``."""
    return f"decision:{topic}"


def forget_unanswered(connection: sa.Connection, run: str) -> None:
    """Let decisions whose time was over be asked again."""
    connection.execute(sa.delete(decisions).where(decisions.c.run == run, decisions.c.answer.is_(None)))


def _stopping(error: BaseException) -> bool:
    """Say whether the engine stops this task; a call may also have been cancelled by its own doing."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _unexpected(name: str, error: BaseException) -> errors.Broken:
    return errors.Broken(
        "engine.step.unexpected",
        f"Step {name} failed unexpectedly: {type(error).__name__}: {error}",
        remedy="This is a mistake in Crossport or a driver: report it with the log of this time.",
    )
