"""What every RunContext keeps. A test class derives from RunContextConformance and gives a ``stage``.

A stage plays one run: it begins it, lets the process die under it, begins the next execution, and does
what people do: cancel and answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from crossport import errors
from crossport.model.artifact import Progress
from crossport.model.record import record
from crossport.model.run import Event, EventKind
from crossport.spi.run import Retry, RunContext

__all__ = ["Ended", "RunContextConformance", "RunStage", "Tale"]

Tale = Callable[[RunContext], Awaitable[str]]

LONG_S = 30.0
SOON_S = 10.0


@record()
class Ended:
    """What came out of a run: what the tale returned, or the error it ended with."""

    text: str = ""
    error: errors.Error | None = None


class RunStage(Protocol):
    """One run to play with."""

    async def begin(self, tale: Tale) -> None:
        """Begin the run's first execution and return."""
        ...

    async def interrupt(self) -> None:
        """Let the process die, whatever the tale does."""
        ...

    async def again(self) -> None:
        """Begin the next execution of the same tale."""
        ...

    async def ended(self) -> Ended:
        """Wait for the end."""
        ...

    async def cancel(self, why: errors.Cancelled | None = None) -> None:
        """Ask the run to stop, with an error of its own where ``why`` is one."""
        ...

    async def answer(self, topic: str, answer: str, *, early: bool = False) -> None:
        """Answer a decision that the run waits for, or with ``early`` may wait for later."""
        ...

    async def events(self) -> tuple[Event, ...]:
        """Return the numbered events."""
        ...

    async def progress(self) -> tuple[Event, ...]:
        """Return the last progress of every artifact."""
        ...


@record()
class Parcel:
    """A result with a type of its own."""

    name: str
    sizes: tuple[int, ...]


class Calls:
    """Counts what steps did to the world, and lets a test wait for a step."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.answering = False

    async def note(self, name: str) -> str:
        self.made.append(name)
        return name

    async def hang(self, name: str) -> str:
        """Stay in the step until ``go_on``."""
        self.made.append(name)
        self.reached.set()
        await self.go_on.wait()
        return name

    async def here(self) -> None:
        async with asyncio.timeout(LONG_S):
            await self.reached.wait()


class RunContextConformance:
    """The suite. Every test plays a small tale on a fresh ``stage``."""

    @pytest.fixture
    def calls(self) -> Calls:
        return Calls()

    async def test_a_result_comes_back_with_its_type(self, stage: RunStage) -> None:
        async def pack() -> Parcel:
            return Parcel(name="disk", sizes=(1, 2))

        async def tale(run: RunContext) -> str:
            parcel = await run.step("pack", pack, result=Parcel)
            return f"{parcel.name} {parcel.sizes}"

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="disk (1, 2)")

    async def test_a_finished_step_is_not_run_again(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            first = await run.step("first", lambda: calls.note("first"), result=str)
            second = await run.step("second", lambda: calls.hang("second"), result=str)
            return first + second

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="firstsecond")
        assert calls.made == ["first", "second", "second"]

    async def test_a_kept_error_is_raised_again_in_later_executions(
        self, stage: RunStage, calls: Calls
    ) -> None:
        async def fail() -> str:
            calls.made.append("fail")
            raise errors.Conflict("vm.busy", "It is busy.", remedy="Wait.", field="vm")

        async def tale(run: RunContext) -> str:
            try:
                await run.step("fail", fail, result=str)
            except errors.Conflict as error:
                said = f"{error.code} {error.text} {error.remedy} {error.field}"
                await run.step("wait", lambda: calls.hang("wait"), result=str)
                return said
            return "no error"

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="vm.busy It is busy. Wait. vm")
        assert calls.made == ["fail", "wait", "wait"]

    async def test_an_error_that_may_pass_is_tried_again(self, stage: RunStage, calls: Calls) -> None:
        async def flaky() -> str:
            calls.made.append("try")
            if len(calls.made) < 3:
                raise errors.Unavailable("cloud.silent", "No answer.")
            return "at last"

        async def tale(run: RunContext) -> str:
            return await run.step("flaky", flaky, result=str, retry=Retry(attempts=3, pause_s=0.01))

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="at last")
        assert len(calls.made) == 3

    async def test_tries_are_bounded_and_the_last_error_is_kept(self, stage: RunStage, calls: Calls) -> None:
        async def silent() -> str:
            calls.made.append("try")
            raise errors.Unavailable("cloud.silent", "No answer.")

        async def tale(run: RunContext) -> str:
            try:
                return await run.step("ask", silent, result=str, retry=Retry(attempts=2, pause_s=0.01))
            except errors.Unavailable as error:
                return error.code

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="cloud.silent")
        assert len(calls.made) == 2

    async def test_what_gets_further_begins_its_tries_anew(self, stage: RunStage, calls: Calls) -> None:
        """Two tries in a row that got nowhere are too many, and those that got further do not count."""

        async def far() -> str:
            calls.made.append("try")
            raise errors.Unavailable("cloud.silent", "No answer.")

        async def tale(run: RunContext) -> str:
            retry = Retry(attempts=2, pause_s=0.01, headway=lambda: min(len(calls.made), 4))
            try:
                return await run.step("far", far, result=str, retry=retry)
            except errors.Unavailable as error:
                return error.code

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="cloud.silent")
        assert len(calls.made) == 5

    async def test_other_errors_are_not_tried_again(self, stage: RunStage, calls: Calls) -> None:
        async def refuse() -> str:
            calls.made.append("try")
            raise errors.Refused("image.hostile", "No.")

        async def tale(run: RunContext) -> str:
            try:
                return await run.step("ask", refuse, result=str, retry=Retry(attempts=5, pause_s=0.01))
            except errors.Refused as error:
                return error.code

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="image.hostile")
        assert len(calls.made) == 1

    async def test_an_unexpected_exception_is_kept_as_broken(self, stage: RunStage) -> None:
        async def stumble() -> str:
            raise KeyError("nobody foresaw this")

        async def tale(run: RunContext) -> str:
            try:
                return await run.step("stumble", stumble, result=str)
            except errors.Broken as error:
                return error.code

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="engine.step.unexpected")

    async def test_a_name_stands_for_one_step(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            await run.step("once", lambda: calls.note("once"), result=str)
            try:
                return await run.step("once", lambda: calls.note("twice"), result=str)
            except errors.Broken as error:
                return error.code

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="engine.step.twice")
        assert calls.made == ["once"]

    async def test_steps_may_go_on_side_by_side(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            names = ("left", "right", "middle")
            done = await asyncio.gather(
                *(run.step(name, lambda name=name: calls.note(name), result=str) for name in names)
            )
            await run.step("wait", lambda: calls.hang("wait"), result=str)
            return " ".join(done)

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="left right middle")
        assert sorted(calls.made) == ["left", "middle", "right", "wait", "wait"]

    async def test_a_cancelled_run_stops_before_its_next_step(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            await run.step("first", lambda: calls.hang("first"), result=str)
            await run.step("second", lambda: calls.note("second"), result=str)
            return "not cancelled"

        await stage.begin(tale)
        await calls.here()
        await stage.cancel()
        calls.go_on.set()
        ended = await stage.ended()
        assert isinstance(ended.error, errors.Cancelled)
        assert calls.made == ["first"]

    async def test_a_cancellable_step_is_interrupted_soon(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            return await run.step("copy", lambda: calls.hang("copy"), result=str, cancellable=True)

        await stage.begin(tale)
        await calls.here()
        await stage.cancel()
        async with asyncio.timeout(SOON_S):
            ended = await stage.ended()
        assert isinstance(ended.error, errors.Cancelled)

    async def test_a_run_that_has_to_stop_does_so_with_the_reason_that_came_first(
        self, stage: RunStage, calls: Calls
    ) -> None:
        async def tale(run: RunContext) -> str:
            return await run.step("copy", lambda: calls.hang("copy"), result=str, cancellable=True)

        await stage.begin(tale)
        await calls.here()
        await stage.cancel(errors.Cancelled("grant.lost", "Its right is gone.", remedy="Ask.", field="run"))
        await stage.cancel()
        error = (await stage.ended()).error
        assert isinstance(error, errors.Cancelled)
        assert (error.code, error.text, error.remedy) == ("grant.lost", "Its right is gone.", "Ask.")

    async def test_a_waiting_run_tells_why_it_has_to_stop(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            calls.reached.set()
            return str(await run.decision("commit", LONG_S))

        await stage.begin(tale)
        await calls.here()
        await stage.cancel(errors.Cancelled("grant.lost", "Its right is gone."))
        error = (await stage.ended()).error
        assert error is not None
        assert error.code == "grant.lost"

    async def test_a_cancelled_run_rolls_back_also_after_a_crash(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            try:
                await run.step("copy", lambda: calls.hang("copy"), result=str, cancellable=True)
                await run.step("start", lambda: calls.note("start"), result=str)
            except errors.Cancelled:
                run.protect()
                calls.reached.clear()
                await run.step("remove", lambda: calls.hang("remove"), result=str)
                await run.step("restart", lambda: calls.note("restart"), result=str)
                raise
            return "not cancelled"

        await stage.begin(tale)
        await calls.here()
        calls.reached.clear()
        await stage.cancel()
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        ended = await stage.ended()
        assert isinstance(ended.error, errors.Cancelled)
        assert calls.made == ["copy", "remove", "remove", "restart"]

    async def test_a_protected_run_is_not_cancelled(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            await run.step("first", lambda: calls.hang("first"), result=str)
            run.protect()
            return await run.step("second", lambda: calls.note("second"), result=str, cancellable=True)

        await stage.begin(tale)
        await calls.here()
        await stage.cancel()
        calls.go_on.set()
        assert await stage.ended() == Ended(text="second")

    async def test_every_execution_acts_under_a_higher_epoch(self, stage: RunStage, calls: Calls) -> None:
        epochs: list[int] = []

        async def tale(run: RunContext) -> str:
            epochs.append(run.epoch)
            act = run.act("copy")
            assert (act.run, act.step, act.epoch) == (run.run, "copy", run.epoch)
            return await run.step("copy", lambda: calls.hang("copy"), result=str)

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="copy")
        assert len(epochs) == 2
        assert epochs[0] < epochs[1]

    async def test_a_decision_waits_for_its_answer_and_keeps_it(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            await run.step("first", lambda: calls.note("first"), result=str)
            if not calls.answering:
                calls.reached.set()
            answer = await run.decision("commit", LONG_S)
            await run.step("wait", lambda: calls.hang("wait"), result=str)
            return str(answer)

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()  # while nobody has answered
        calls.answering = True
        calls.reached.clear()
        await stage.again()
        await _until(stage.answer, "commit", "yes")
        await calls.here()
        await stage.interrupt()  # after the answer
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="yes")
        assert calls.made == ["first", "wait", "wait"]

    async def test_a_decision_ends_when_its_time_is_over(self, stage: RunStage) -> None:
        async def tale(run: RunContext) -> str:
            return str(await run.decision("commit", 0.05))

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="None")

    async def test_an_answer_that_comes_early_holds_for_every_asking(
        self, stage: RunStage, calls: Calls
    ) -> None:
        async def tale(run: RunContext) -> str:
            before = [await run.decision("go", 0.0, asking=1), await run.decision("go", 0.05, asking=2)]
            await run.step("work", lambda: calls.hang("work"), result=str)
            return f"{before} {await run.decision('go', LONG_S, asking=3)} {await run.decision('go', 0.0)}"

        await stage.begin(tale)
        await calls.here()
        await stage.answer("go", "now", early=True)
        await stage.answer("go", "now", early=True)
        calls.go_on.set()
        assert await stage.ended() == Ended(text="[None, None] now now")

    async def test_an_answer_wakes_the_asking_that_waits(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            first = await run.decision("go", 0.05, asking=1)
            calls.reached.set()
            return f"{first} {await run.decision('go', LONG_S, asking=2)}"

        await stage.begin(tale)
        await calls.here()
        await stage.answer("go", "now", early=True)
        assert await stage.ended() == Ended(text="None now")

    async def test_a_waiting_run_can_be_cancelled(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            calls.reached.set()
            return str(await run.decision("commit", LONG_S))

        await stage.begin(tale)
        await calls.here()
        await stage.cancel()
        assert isinstance((await stage.ended()).error, errors.Cancelled)

    async def test_the_story_has_no_gaps_and_tells_nothing_twice(self, stage: RunStage, calls: Calls) -> None:
        async def tale(run: RunContext) -> str:
            await run.emit(Event(kind=EventKind.LOG, text="begins"))
            await run.step("first", lambda: calls.note("first"), result=str)
            await run.emit(Event(kind=EventKind.LOG, text="goes on"))
            await run.step("second", lambda: calls.hang("second"), result=str)
            await run.emit(Event(kind=EventKind.LOG, text="ends"))
            return "told"

        await stage.begin(tale)
        await calls.here()
        await stage.interrupt()
        calls.go_on.set()
        await stage.again()
        assert await stage.ended() == Ended(text="told")
        story = await stage.events()
        assert [event.number for event in story] == list(range(1, len(story) + 1))
        told = [event.text for event in story if event.text in {"begins", "goes on", "ends"}]
        assert told == ["begins", "goes on", "ends"]

    async def test_the_last_progress_of_an_artifact_is_kept(self, stage: RunStage) -> None:
        async def copy(run: RunContext) -> str:
            for done in range(101):
                await run.emit(
                    Event(kind=EventKind.PROGRESS, progress=Progress(artifact="disk-0", size=100, done=done))
                )
            return "copied"

        async def tale(run: RunContext) -> str:
            return await run.step("copy", lambda: copy(run), result=str)

        await stage.begin(tale)
        assert await stage.ended() == Ended(text="copied")
        progress = [event.progress for event in await stage.progress()]
        assert progress == [Progress(artifact="disk-0", size=100, done=100)]
        assert all(event.kind is not EventKind.PROGRESS for event in await stage.events())


async def _until(call: Callable[[str, str], Awaitable[None]], topic: str, answer: str) -> None:
    """Answer as soon as the run asks."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                await call(topic, answer)
            except errors.Conflict:
                await asyncio.sleep(0.02)
            else:
                return
