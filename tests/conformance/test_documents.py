"""Documents: in memory, and of the engine on both databases."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crossport.engine.database import Database
from crossport.engine.documents import Documents
from crossport.spi.document import Documents as AnyDocuments
from crossport.testing.conformance.document import DocumentsConformance
from crossport.testing.document import MemoryDocuments
from crossport.testing.postgresql import running_postgresql


@asynccontextmanager
async def opened(state_dir: Path, url: str) -> AsyncGenerator[Documents]:
    database = await Database.open(state_dir, url, 30.0)
    yield Documents(database)
    await database.close()


class TestMemoryDocuments(DocumentsConformance):
    @pytest.fixture
    def documents(self) -> AnyDocuments:
        return MemoryDocuments()


class TestDocumentsOnSqlite(DocumentsConformance):
    @pytest.fixture
    async def documents(self, tmp_path: Path) -> AsyncIterator[AnyDocuments]:
        async with opened(tmp_path, "") as documents:
            yield documents


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with running_postgresql() as server:
        yield server.database()


@pytest.mark.postgresql
class TestDocumentsOnPostgresql(DocumentsConformance):
    @pytest.fixture
    async def documents(self, tmp_path: Path, database_url: str) -> AsyncIterator[AnyDocuments]:
        async with opened(tmp_path, database_url) as documents:
            yield documents
