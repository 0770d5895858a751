"""Somebody who can write to the database plants a pickle: it must not be executed, and must be named."""

import base64
import pickle
import sqlite3
from pathlib import Path

import pytest
from tests.unit.engine.conftest import Theatre, Told, Wish

from crossport import errors
from crossport.engine import Engine
from crossport.engine.serializer import JsonSerializer, refuse_pickle
from crossport.model.run import Event, EventKind, RunState
from crossport.spi.run import RunContext


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def planted(path: Path) -> str:
    return base64.b64encode(pickle.dumps(Planted(path))).decode()


def change(theatre: Theatre, statement: str, *values: str) -> None:
    connection = sqlite3.connect(theatre.settings.state_dir / "steps.sqlite")
    changed = connection.execute(statement, values).rowcount
    connection.commit()
    connection.close()
    assert changed == 1


async def interrupted(theatre: Theatre) -> str:
    """Return a run that was interrupted by the end of its engine, after one finished step."""
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish(text="kept"))
    async for event in engine.runs.follow(run.id):
        if event.text == "half":
            break
    await engine.close()
    return run.id


@pytest.fixture
def halting(theatre: Theatre) -> Theatre:
    """Let the first execution stand still after its first step."""

    async def play(run: RunContext, wish: Wish) -> Told:
        told = await theatre.echo(run, wish)
        if run.epoch == 1:
            await run.emit(Event(kind=EventKind.LOG, text="half"))
            await run.decision("go", 60.0)
        return told

    theatre.play = play
    return theatre


async def attention_of(engine: Engine, run: str) -> errors.Error | None:
    ended = await engine.wait(run, 20.0)
    assert ended.state is RunState.ATTENTION
    return await engine.failure(run)


async def test_a_pickled_step_is_refused_and_not_executed(halting: Theatre, tmp_path: Path) -> None:
    run, trap = await interrupted(halting), tmp_path / "executed"
    change(
        halting,
        "UPDATE operation_outputs SET output = ?, serialization = 'py_pickle' WHERE workflow_uuid = ?",
        planted(trap),
        run,
    )
    engine = await halting.engine().open()
    failure = await attention_of(engine, run)
    assert (type(failure), failure and failure.code) == (errors.Refused, "engine.row.refused")
    assert not trap.exists()


async def test_a_pickled_request_is_refused_and_not_executed(halting: Theatre, tmp_path: Path) -> None:
    run, trap = await interrupted(halting), tmp_path / "executed"
    table = "workflow_inputs" if has_table(halting, "workflow_inputs") else "workflow_status"
    change(
        halting,
        f"UPDATE {table} SET inputs = ? WHERE workflow_uuid = ?",  # noqa: S608 -- one of two constants
        planted(trap),
        run,
    )
    change(halting, "UPDATE workflow_status SET serialization = 'py_pickle' WHERE workflow_uuid = ?", run)
    engine = await halting.engine().open()
    failure = await attention_of(engine, run)
    assert (type(failure), failure and failure.code) == (errors.Refused, "engine.row.refused")
    assert not trap.exists()


def has_table(theatre: Theatre, name: str) -> bool:
    connection = sqlite3.connect(theatre.settings.state_dir / "steps.sqlite")
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    connection.close()
    return found is not None


def test_the_trap_works_when_nobody_refuses(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    pickle.loads(base64.b64decode(planted(trap)))  # noqa: S301 -- it is our own trap
    assert trap.exists()


def test_what_is_not_json_is_refused() -> None:
    refuse_pickle()
    with pytest.raises(errors.Refused) as caught:
        JsonSerializer().deserialize("gASVBAAAAAAAAAB9lC4=")
    assert caught.value.code == "engine.row.refused"


def test_errors_survive_the_serializer() -> None:
    serializer = JsonSerializer()
    error = serializer.deserialize(
        serializer.serialize(errors.Conflict("a.b", "text", remedy="r", field="f"))
    )
    assert (type(error), error.code, error.remedy, error.field) == (errors.Conflict, "a.b", "r", "f")
