"""Audit logs: in memory, and of the engine on both databases, with several nodes on one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crossport import errors, merkle
from crossport.app.clock import SystemClock
from crossport.audit import tree
from crossport.engine import audit_rows
from crossport.engine.audit_log import AuditLog
from crossport.engine.database import Database
from crossport.engine.settings import EngineSettings
from crossport.model import codec
from crossport.model.audit import AuditEntry, AuditRecord
from crossport.spi.audit import Audit
from crossport.testing.audit import MemoryAudit
from crossport.testing.conformance.audit import AuditConformance, Told
from crossport.testing.postgresql import running_postgresql

KNOCK = AuditEntry(action="door.knock", actor="somebody")
EACH = 150


@asynccontextmanager
async def opened(state_dir: Path, url: str, node: str = "node") -> AsyncGenerator[tuple[Database, AuditLog]]:
    database = await Database.open(state_dir, url, 30.0)
    log = AuditLog(database, EngineSettings(state_dir=state_dir, node=node), SystemClock())
    yield database, log
    await log.close()
    await database.close()


async def every(log: AuditLog) -> list[AuditRecord]:
    return [codec.decoded(one.text, AuditRecord) for one in await log.records()]


async def need_whole(database: Database, log: AuditLog) -> None:
    """The root is that of the records as they lie there, from the edge and from what is kept."""
    leaves = merkle.Tree()
    for one in await log.records():
        leaves.add(merkle.leaf(one.text.encode()))
    edge, kept = await database.run(
        lambda it: (
            audit_rows.frontier(it).root(),
            tree.root(leaves.leaf_count, audit_rows.stored(it)),
        )
    )
    assert edge == kept == leaves.root()


class TestMemoryAudit(AuditConformance):
    @pytest.fixture
    def audit(self) -> MemoryAudit:
        return MemoryAudit()

    @pytest.fixture
    def told(self, audit: MemoryAudit) -> Told:
        async def told() -> list[AuditRecord]:
            return audit.records

        return told


class DurableAuditConformance(AuditConformance):
    """What holds for a log in a database besides."""

    @pytest.fixture
    def database_url(self) -> str:
        return ""

    @pytest.fixture
    async def both(self, tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Database, AuditLog]]:
        async with opened(tmp_path, database_url) as both:
            yield both

    @pytest.fixture
    def audit(self, both: tuple[Database, AuditLog]) -> Audit:
        return both[1]

    @pytest.fixture
    def told(self, both: tuple[Database, AuditLog]) -> Told:
        async def told() -> list[AuditRecord]:
            return await every(both[1])

        return told

    async def test_two_nodes_write_one_log(
        self, both: tuple[Database, AuditLog], tmp_path: Path, database_url: str
    ) -> None:
        """No number is given twice and none is left out, and the tree is that of all records."""
        async with opened(tmp_path, database_url, "other") as (_, other):
            await asyncio.gather(*(log.intent(KNOCK) for log in (both[1], other) for _ in range(EACH)))
        told = await every(both[1])
        assert [one.number for one in told] == list(range(len(told)))
        fresh = told[-2 * EACH :]
        assert {node: sum(one.node == node for one in fresh) for node in ("node", "other")} == {
            "node": EACH,
            "other": EACH,
        }
        await need_whole(*both)

    async def test_what_cannot_be_written_is_not_done(self, tmp_path: Path, database_url: str) -> None:
        """The caller learns so, and the log goes on when the database does."""
        async with opened(tmp_path, database_url) as (database, log):
            await database.run(lambda it: it.exec_driver_sql("ALTER TABLE audit_records RENAME TO away"))
            with pytest.raises(errors.Unavailable) as raised:
                await log.intent(KNOCK)
            assert raised.value.code == "audit.unwritten"
            await database.run(lambda it: it.exec_driver_sql("ALTER TABLE away RENAME TO audit_records"))
            await log.intent(KNOCK)
            await need_whole(database, log)


class TestAuditOnSqlite(DurableAuditConformance):
    pass


@pytest.fixture(scope="module")
def postgresql_url() -> Iterator[str]:
    with running_postgresql() as server:
        yield server.database()


@pytest.mark.postgresql
class TestAuditOnPostgresql(DurableAuditConformance):
    @pytest.fixture
    def database_url(self, postgresql_url: str) -> str:
        return postgresql_url
