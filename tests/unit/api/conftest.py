"""One site per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site


@pytest.fixture(autouse=True)
def quiet():
    """Keep the log of requests out of the tests' output."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client() as client:
        yield client
