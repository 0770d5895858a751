"""A run without an engine, for tests of workflows: everything in memory, nothing survives the process.

It keeps the same promises as the engine's context and passes the same suite
(``crossport.testing.conformance.run_context``). A test can kill it at any boundary of any step and let
the workflow go on in ``successor()``, as after the crash of a process.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from crossport import errors
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.record import record
from crossport.model.run import Act, Created, Event, EventKind
from crossport.spi.clock import Clock
from crossport.spi.run import NO_RETRY, Retry, Tries

__all__ = ["DirectLedger", "DirectRun", "Killed", "KillPoint"]

T = TypeVar("T")


class Killed(BaseException):
    """The process of a DirectRun "died" here. Let it pass; go on with ``successor()``."""


class KillPoint(StrEnum):
    """Where in a step a process dies."""

    BEFORE_CALL = "before-call"
    AFTER_CALL = "after-call"
    """The world was changed, and nobody wrote it down."""
    AFTER_RECORD = "after-record"


@record()
class _Outcome:
    result: str = ""
    failure: Failure | None = None


class DirectLedger:
    """A ledger in a list."""

    def __init__(self) -> None:
        self._entries: list[Created] = []

    async def intend(self, thing: Created) -> None:
        """Write the entry down, once."""
        if self._index(thing) is None:
            self._entries.append(thing)

    async def settle(self, thing: Created) -> None:
        """Write down the entry's new state; an entry that nobody intended is added."""
        index = self._index(thing)
        if index is None:
            self._entries.append(thing)
        else:
            self._entries[index] = thing

    async def entries(self, run: str, cloud: str = "") -> tuple[Created, ...]:
        """Return the run's entries in the order in which they were intended."""
        return tuple(one for one in self._entries if one.run == run and cloud in {"", one.cloud})

    async def forget(self, run: str) -> None:
        """Drop all entries of a run."""
        self._entries = [one for one in self._entries if one.run != run]

    def _index(self, thing: Created) -> int | None:
        identity = (thing.run, thing.cloud, thing.kind, thing.name)
        for index, one in enumerate(self._entries):
            if (one.run, one.cloud, one.kind, one.name) == identity:
                return index
        return None


class _Counting:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self._now = 1000.0

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)


class _Kept:
    """What would be in the database."""

    def __init__(self) -> None:
        self.outcomes: dict[str, _Outcome] = {}
        self.events: list[Event] = []
        self.progress: dict[str, Event] = {}
        self.answers: dict[str, str | None] = {}
        self.cancelled = asyncio.Event()
        self.why: errors.Cancelled | None = None
        self.answered = asyncio.Event()


class DirectRun:
    """A RunContext in memory. ``calls`` lists the steps whose call was begun, in every execution.

    ``kill(step, point)`` lets the process "die" there (Killed is raised), ``successor()`` is the next
    execution of the same run, with a higher epoch. ``cancel`` and ``answer`` do what people do.
    """

    def __init__(self, run: str = "run-1", *, clock: Clock | None = None) -> None:
        self.run = run
        self.epoch = 1
        self.calls: list[str] = []
        self.ledger = DirectLedger()
        self._clock: Clock = clock or _Counting()
        self._kept = _Kept()
        self._names: set[str] = set()
        self._told: Counter[tuple[object, ...]] = Counter()
        self._protected = False
        self._lost = False
        self._kills: set[tuple[str, KillPoint]] = set()

    @property
    def events(self) -> tuple[Event, ...]:
        """The numbered story: everything but progress."""
        return tuple(self._kept.events)

    @property
    def progress(self) -> tuple[Event, ...]:
        """The last progress of every artifact."""
        return tuple(self._kept.progress.values())

    def successor(self) -> "DirectRun":
        """Return the next execution of this run; this one has lost it."""
        heir = DirectRun(self.run, clock=self._clock)
        heir.epoch = self.epoch + 1
        heir._told = Counter(event.gist for event in self._kept.events)
        heir.calls, heir.ledger, heir._kept = self.calls, self.ledger, self._kept
        self._lost = True
        return heir

    def kill(self, step: str, point: KillPoint) -> None:
        """Raise Killed at ``point`` of ``step``."""
        self._kills.add((step, point))

    def cancel(self, why: errors.Cancelled | None = None) -> None:
        """Ask the run to stop; it does with ``why``, the first that was given."""
        if not self._kept.cancelled.is_set():
            self._kept.why = why
        self._kept.cancelled.set()

    def answer(self, topic: str, answer: str | None) -> None:
        """Answer a decision, before or after it is asked. None: its time is over."""
        self._kept.answers[topic] = answer
        self._kept.answered.set()

    def act(self, step: str) -> Act:
        """Return the name in which a step acts."""
        return Act(run=self.run, step=step, epoch=self.epoch)

    def protect(self) -> None:
        """From here on the run cannot be cancelled."""
        self._protected = True

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
        return await self._once(name, lambda: self._called(name, call, retry, cancellable), result)

    async def emit(self, event: Event) -> None:
        """Keep the event; of progress the last one per artifact."""
        self._check_lost()
        if event.kind is EventKind.PROGRESS and event.progress is not None:
            self._kept.progress[event.progress.artifact] = replace(event, time=self._clock.wall())
        elif self._told[event.gist] > 0:
            self._told[event.gist] -= 1  # an earlier execution told it
        else:
            number = len(self._kept.events) + 1
            self._kept.events.append(replace(event, number=number, time=self._clock.wall()))

    async def decision(self, topic: str, timeout_s: float, *, asking: int = 0) -> str | None:
        """Wait for ``answer``, at most ``timeout_s`` real seconds; of the clock when it never comes."""

        async def ask() -> str | None:
            if timeout_s <= 0 or (asking and self._kept.answers.get(topic, "") is None):
                self._check_cancelled()
                await self._clock.sleep(max(0.0, timeout_s))
                return self._kept.answers.get(topic)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._unless_cancelled(self._answered(topic))
            except TimeoutError:
                return None
            return self._kept.answers[topic]

        name = f"decision:{topic}#{asking}" if asking else f"decision:{topic}"
        answer: str | None = await self._once(name, ask, str | None)  # type: ignore[arg-type]
        return answer

    async def _answered(self, topic: str) -> None:
        while topic not in self._kept.answers:
            self._kept.answered.clear()
            await self._kept.answered.wait()

    async def _once(self, name: str, call: Callable[[], Awaitable[T]], result: type[T]) -> T:
        self._check_lost()
        if name in self._names:
            raise errors.Broken("engine.step.twice", f"Step {name} is used twice in one workflow.")
        self._names.add(name)
        if name not in self._kept.outcomes:
            outcome = await self._outcome(name, call, result)
            self._check_lost()
            self._kept.outcomes[name] = outcome
            self._die(name, KillPoint.AFTER_RECORD)
        kept = self._kept.outcomes[name]
        if kept.failure is not None:
            raise kept.failure.error()
        return codec.decoded(kept.result, result)

    async def _outcome(self, name: str, call: Callable[[], Awaitable[T]], result: type[T]) -> _Outcome:
        try:
            outcome = _Outcome(result=codec.encoded(await call(), result))
        except errors.Error as error:
            return _Outcome(failure=Failure.of(error))
        except Exception as error:  # noqa: BLE001 -- recorded, as the engine does
            text = f"Step {name} failed unexpectedly: {type(error).__name__}: {error}"
            return _Outcome(failure=Failure.of(errors.Broken("engine.step.unexpected", text)))
        return outcome

    async def _called(
        self, name: str, call: Callable[[], Awaitable[T]], retry: Retry, cancellable: bool
    ) -> T:
        tries = Tries(retry)
        while True:
            self._check_cancelled()
            self._die(name, KillPoint.BEFORE_CALL)
            self.calls.append(name)
            try:
                answer = await (self._unless_cancelled(call()) if cancellable else call())
            except errors.Error as error:
                pause_s = tries.pause_s(error)
                if pause_s is None:
                    raise
                await self._clock.sleep(pause_s)
            else:
                self._die(name, KillPoint.AFTER_CALL)
                return answer

    async def _unless_cancelled(self, call: Awaitable[T]) -> T:
        self._check_cancelled()
        work = asyncio.ensure_future(call)
        bell = asyncio.ensure_future(self._kept.cancelled.wait())
        try:
            watched = (work,) if self._protected else (work, bell)
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise self._why()
        finally:
            bell.cancel()
            work.cancel()
            await asyncio.wait((work, bell))

    def _check_cancelled(self) -> None:
        if self._kept.cancelled.is_set() and not self._protected:
            raise self._why()

    def _why(self) -> errors.Cancelled:
        kept = self._kept.why
        if kept is None:
            return errors.Cancelled("run.cancelled", "The run was cancelled.")
        return errors.Cancelled(kept.code, kept.text, remedy=kept.remedy, field=kept.field)

    def _check_lost(self) -> None:
        if self._lost:
            raise errors.Refused("engine.epoch.lost", "Another execution has taken this run over.")

    def _die(self, name: str, point: KillPoint) -> None:
        if (name, point) in self._kills:
            raise Killed(f"{point} {name}")
