"""What the engine keeps for others: documents and the ledger; and who may have the state directory."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tests.unit.engine.conftest import Theatre, Told, Wish

from crossport import errors
from crossport.engine import Document, Engine
from crossport.engine.schema import metadata
from crossport.model.run import Created, LedgerState


async def test_a_document_counts_its_changes(engine: Engine) -> None:
    documents = engine.documents
    first = await documents.put("tale", "a", Told(text="one"), generation=0)
    assert first == Document(key="a", value=Told(text="one"), generation=1)
    second = await documents.put("tale", "a", Told(text="two"), generation=1)
    assert await documents.fetch("tale", "a", Told) == second
    for stale in (0, 1, 3):
        with pytest.raises(errors.Conflict):
            await documents.put("tale", "a", Told(text="three"), generation=stale)
        with pytest.raises(errors.Conflict):
            await documents.delete("tale", "a", generation=stale)
    assert (await documents.put("tale", "a", Told(text="whatever"))).generation == 3
    assert await documents.delete("tale", "a", generation=3)
    assert not await documents.delete("tale", "a")
    with pytest.raises(errors.NotFound):
        await documents.fetch("tale", "a", Told)


async def test_documents_are_listed_by_key_and_kind(engine: Engine) -> None:
    for key in ("b/2", "a/1", "b/1", "B/1", "b%"):
        await engine.documents.put("tale", key, Told(text=key))
    await engine.documents.put("other", "b/3", Told(text=""))
    listed = await engine.documents.list("tale", Told, prefix="b/")
    assert [one.key for one in listed] == ["b/1", "b/2"]
    assert [one.key for one in await engine.documents.list("tale", Told, after="b/1")] == ["b/2"]
    assert len(await engine.documents.list("tale", Told, limit=3)) == 3


async def test_a_document_of_another_type_is_refused(engine: Engine) -> None:
    await engine.documents.put("tale", "a", Wish(text="x"))
    with pytest.raises(errors.Invalid):
        await engine.documents.fetch("tale", "a", Told)


async def test_the_ledger_keeps_the_order_of_intention(theatre: Theatre) -> None:
    engine = await theatre.engine().open()
    disk = Created(run="r", cloud="alpha", kind="disk", name="d")
    port = Created(run="r", cloud="beta", kind="port", name="p")
    for thing in (disk, port, disk):
        await engine.ledger.intend(thing)
    settled = Created(run="r", cloud="alpha", kind="disk", name="d", id="7", state=LedgerState.CREATED)
    await engine.ledger.settle(settled)
    await engine.ledger.intend(disk)  # a repeated step does not forget that it was made
    await engine.close()
    engine = await theatre.engine().open()
    assert await engine.ledger.entries("r") == (settled, port)
    assert await engine.ledger.entries("r", "beta") == (port,)
    assert await engine.ledger.entries("other") == ()


async def test_a_second_owner_is_told_who_the_first_is(theatre: Theatre, engine: Engine) -> None:
    with pytest.raises(errors.Conflict) as caught:
        await theatre.engine().open()
    assert caught.value.code == "state.owned"
    assert str(os.getpid()) in caught.value.text
    run = await engine.submit("tale", Wish())  # the first one goes on undisturbed
    assert (await engine.wait(run.id, 20.0)).state.final


async def test_nobody_else_can_read_the_state(theatre: Theatre, engine: Engine) -> None:
    await engine.submit("tale", Wish())
    home = theatre.settings.state_dir
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {
        path.name: 0o600 for path in home.iterdir()
    }


async def test_a_database_of_a_newer_version_is_left_alone(theatre: Theatre) -> None:
    await theatre.engine().open()
    await theatre.opened[0].close()
    file = theatre.settings.state_dir / "engine.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with pytest.raises(errors.Conflict) as caught:
        await theatre.engine().open()
    assert caught.value.code == "engine.database.newer"
    assert "newer version" in caught.value.text
    assert file.read_bytes() == before


async def test_the_migrations_make_the_tables_that_the_code_uses(theatre: Theatre, engine: Engine) -> None:
    assert engine.runs
    database = sa.create_engine(f"sqlite:///{theatre.settings.state_dir / 'engine.sqlite'}")
    with database.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)
    database.dispose()
    assert difference == []


async def test_an_address_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path / "control")
    object.__setattr__(theatre.settings, "database_url", "mysql://me:hidden@host/x")
    with pytest.raises(errors.Invalid) as caught:
        await theatre.engine().open()
    assert caught.value.code == "engine.database.url"
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(theatre.settings)


def test_importing_the_engine_opens_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import crossport.engine"], cwd=tmp_path, check=True, timeout=60
    )
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
