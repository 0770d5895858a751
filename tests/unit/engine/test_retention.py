"""Ended runs are forgotten in time, with all that was kept of them, and not while something hangs on them."""

import dataclasses
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from tests.unit.engine.conftest import Theatre, Told, Wish

from crossport import errors
from crossport.engine import Engine
from crossport.model.run import Created, Event, EventKind, LedgerState, RunRecord, RunState
from crossport.spi.run import RunContext

SOON_S = 20.0
TABLES = {
    "engine.sqlite": tuple((name, "run") for name in ("events", "progress", "ledger", "decisions")),
    "steps.sqlite": (("workflow_status", "workflow_uuid"), ("operation_outputs", "workflow_uuid")),
}
OLD = -1e9
"""Days of which everything is older."""


async def ended(engine: Engine, *ids: str) -> None:
    for run in ids:
        await engine.submit("tale", Wish(text=run), run_id=run)
        await engine.wait(run, SOON_S)


async def left(engine: Engine) -> list[str]:
    return [run.id for run in (await engine.runs.list()).runs]


def rows(theatre: Theatre, run: str) -> int:
    """Count what the databases hold of a run: ours, and the library's with its steps."""
    folder, found = theatre.settings.state_dir, 0
    for name, tables in TABLES.items():
        with closing(sqlite3.connect(folder / name)) as connection:
            for table, column in tables:
                text = f"SELECT count(*) FROM {table} WHERE {column} = ?"  # noqa: S608 - our own names
                found += connection.execute(text, (run,)).fetchone()[0]
    return found


async def opened(theatre: Theatre, **settings: Any) -> Engine:
    theatre.settings = dataclasses.replace(theatre.settings, **settings)
    return await theatre.engine().open()


async def test_old_runs_are_forgotten_with_all_that_was_kept(theatre: Theatre) -> None:
    async def play(run: RunContext, wish: Wish) -> Told:
        await run.emit(Event(kind=EventKind.LOG, text="once"))
        return await theatre.echo(run, wish)

    theatre.play = play
    engine = await opened(theatre, keep_days=OLD)
    await ended(engine, "one")
    assert rows(theatre, "one") > 3
    await engine.forget_ended()
    with pytest.raises(errors.NotFound):
        await engine.runs.fetch("one")
    assert rows(theatre, "one") == 0
    await engine.forget_ended()


async def test_a_forgotten_id_can_be_used_again(theatre: Theatre) -> None:
    engine = await opened(theatre, keep_days=OLD)
    await ended(engine, "one")
    await engine.forget_ended()
    await ended(engine, "one")
    assert (await engine.runs.fetch("one")).state is RunState.DONE


async def test_young_runs_and_the_newest_are_kept(theatre: Theatre) -> None:
    engine = await opened(theatre, keep_days=1.0, keep_count=2)
    await ended(engine, "one", "two", "three")
    await engine.forget_ended()
    assert await left(engine) == ["three", "two"]


async def test_without_limits_everything_is_kept(theatre: Theatre) -> None:
    engine = await opened(theatre, keep_days=0.0, keep_count=0)
    await ended(engine, "one")
    await engine.forget_ended()
    assert await left(engine) == ["one"]


@pytest.mark.parametrize("state", LedgerState)
async def test_what_is_left_in_a_cloud_keeps_its_run(theatre: Theatre, state: LedgerState) -> None:
    engine = await opened(theatre, keep_days=OLD)
    await ended(engine, "one")
    await engine.ledger.settle(Created(run="one", cloud="beta", kind="vm", name="web", state=state))
    await engine.forget_ended()
    settled = state in {LedgerState.REMOVED, LedgerState.KEPT}
    assert await left(engine) == ([] if settled else ["one"])


async def test_what_needs_attention_is_kept(theatre: Theatre) -> None:
    async def play(_run: RunContext, _wish: Wish) -> Told:
        raise errors.NeedsAttention("x.y", "Look.")

    theatre.play = play
    engine = await opened(theatre, keep_days=OLD)
    await ended(engine, "one")
    await engine.forget_ended()
    assert await left(engine) == ["one"]


async def test_a_kind_may_keep_its_runs(theatre: Theatre) -> None:
    asked: list[str] = []

    async def forget(run: RunRecord) -> bool:
        asked.append(run.id)
        return run.id != "one"

    theatre.settings = dataclasses.replace(theatre.settings, keep_days=OLD)
    engine = theatre.engine()
    engine.keep("tale", forget)
    await engine.open()
    await ended(engine, "one", "two")
    await engine.forget_ended()
    assert (asked, await left(engine)) == (["one", "two"], ["one"])
