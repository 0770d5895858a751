"""The database behind the engine: SQLite in the state directory, or PostgreSQL for several nodes.

Statements run in threads, each call in one transaction, so that the event loop never waits for a disk.
On SQLite one thread does everything: one writer at a time is all that SQLite can do anyway.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from crossport import errors

__all__ = ["Database"]

T = TypeVar("T")

FILE_NAME = "engine.sqlite"
POSTGRESQL_THREAD_COUNT = 4
BUSY_MS = 30_000
CONNECT_S = 10
MIGRATION_LOCK = 0x63726F73  # of PostgreSQL's advisory locks: "cros"


class Database:
    """Our tables, up to date. ``run`` does one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.shared = engine.dialect.name == "postgresql"
        count = POSTGRESQL_THREAD_COUNT if self.shared else 1
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="database")

    @classmethod
    async def open(cls, state_dir: Path, url: str, idle_s: float) -> Self:
        """Open the database of ``url``, or the file in ``state_dir``, and bring its tables up to date.

        PostgreSQL ends a transaction in which nothing happens for ``idle_s``: a hung process must not
        hold what others wait for.

        Raise Conflict ``engine.database.newer``, Unavailable ``engine.database.unreachable``, Invalid
        ``engine.database.url``.
        """
        database = cls(_postgresql(url, idle_s) if url else _sqlite(state_dir / FILE_NAME))
        try:
            await database.run(_migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Return what ``work`` returned in a transaction, durable; on an error nothing of it happened.

        Raise Unavailable ``engine.database.unreachable`` when the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._transaction, work)

    def _transaction(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            with self.engine.begin() as connection:
                return work(connection)
        except OperationalError as error:
            raise _unreachable(error) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _unreachable(error) from error
            raise

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()


def _unreachable(error: DBAPIError) -> errors.Unavailable:
    reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no reason given"
    return errors.Unavailable(
        "engine.database.unreachable",
        f"The database does not do its work: {reason}",
        remedy="Check that it runs, accepts this user, and has space left.",
    )


def _sqlite(path: Path) -> sa.Engine:
    private(path)
    engine = sa.create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the next function begins transactions
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # durable on return, also when the power fails

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    _keep = (on_connect, on_begin)
    return engine


def private(path: Path) -> None:
    """Make sure that ``path`` is a file that only its owner may read; SQLite's side files follow it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _postgresql(url: str, idle_s: float) -> sa.Engine:
    options = f"-c idle_in_transaction_session_timeout={int(1000 * idle_s)}"
    return sa.create_engine(
        psycopg_url(url),
        pool_size=POSTGRESQL_THREAD_COUNT,
        pool_pre_ping=True,
        connect_args={"options": options, "connect_timeout": CONNECT_S},
    )


def psycopg_url(url: str) -> sa.URL:
    """Return ``url`` for the driver that we ship; raise Invalid ``engine.database.url``."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        parsed = None  # the message would show the password
    if parsed is None or parsed.get_backend_name() != "postgresql":
        raise errors.Invalid(
            "engine.database.url",
            "This is not the address of a PostgreSQL database.",
            remedy="Write postgresql://user@host/name, or leave it empty for SQLite.",
            field="database_url",
        )
    return parsed.set(drivername="postgresql+psycopg")


def _migrate(connection: sa.Connection) -> None:
    """Bring the tables up to date, one node at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise errors.Conflict(
            "engine.database.newer",
            f"The database was written by a newer version of Crossport (its tables are at {current}).",
            remedy="Install that version or a later one, or restore a backup from before the upgrade.",
        )
    command.upgrade(config, "head")
