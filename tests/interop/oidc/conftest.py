"""One provider for all tests of a process."""

from collections.abc import Generator

import pytest
import structlog
from tests.interop.oidc.provider import Provider, running


@pytest.fixture(scope="session")
def provider() -> Generator[Provider]:
    with running() as one:
        yield one


@pytest.fixture(autouse=True)
def quiet():
    """Keep the log of requests out of the tests' output."""
    with structlog.testing.capture_logs():
        yield
