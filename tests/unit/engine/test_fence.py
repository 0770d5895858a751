"""An execution that lost its run must not act: not call a step, not tell a story, not write an end."""

import asyncio
import sqlite3

from tests.unit.engine.conftest import Theatre, Told, Wish

from crossport import errors
from crossport.model.run import Event, EventKind, RunState
from crossport.spi.run import RunContext


def take_over(theatre: Theatre, run: str) -> None:
    """Do to the database what another execution does when it begins."""
    connection = sqlite3.connect(theatre.settings.state_dir / "engine.sqlite")
    connection.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = ?", (run,))
    connection.commit()
    connection.close()


async def test_an_execution_that_was_taken_over_does_nothing_more(theatre: Theatre) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()
    calls: list[tuple[int, str]] = []
    refusals: list[str] = []

    async def play(run: RunContext, _wish: Wish) -> Told:
        async def note(step: str) -> str:
            calls.append((run.epoch, step))
            if run.epoch == 1:
                reached.set()
                await gate.wait()
            return step

        await run.step("first", lambda: note("first"), result=str)
        for act in (
            lambda: run.step("second", lambda: note("second"), result=str),
            lambda: run.step("third", lambda: note("third"), result=str),
            lambda: run.emit(Event(kind=EventKind.LOG, text=f"told by {run.epoch}")),
            lambda: run.decision("go", 0.01),
        ):
            try:
                await act()
            except errors.Refused as error:
                refusals.append(error.code)
        return Told(text=str(run.epoch))

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    await reached.wait()
    take_over(theatre, run.id)
    gate.set()
    ended = await engine.wait(run.id, 20.0)  # by an execution that really has the run
    assert (ended.state, ended.epoch) == (RunState.DONE, 3)
    assert await engine.report(run.id) == Told(text="3")
    assert calls == [(1, "first"), (3, "second"), (3, "third")]
    assert refusals == ["engine.epoch.lost"] * 4
    told = [event.text for event in await engine.runs.events(run.id) if event.text.startswith("told by")]
    assert told == ["told by 3"]


async def test_a_taken_over_execution_stops_within_a_long_step_of_retries(theatre: Theatre) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def play(run: RunContext, _wish: Wish) -> Told:
        async def ask() -> str:
            calls.append(run.epoch)
            if run.epoch == 1:
                reached.set()
                await gate.wait()
                raise errors.Unavailable("cloud.silent", "No answer.")
            return ""

        from_now = theatre.retry
        return Told(text=await run.step("ask", ask, result=str, retry=from_now))

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    await reached.wait()
    take_over(theatre, run.id)
    gate.set()
    assert (await engine.wait(run.id, 20.0)).state is RunState.DONE
    assert calls == [1, 3]
