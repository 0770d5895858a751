"""A site for the tests of one file, and a desk for each test."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.unit.cli.desk import Desk, Served
from tests.unit.cli.desk import served as serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with serving(tmp_path_factory.mktemp("home")) as site:
        yield site


@pytest.fixture
def desk(served: Served) -> Desk:
    served.site.swift.settle()
    return Desk(served.home)


@pytest.fixture
def alone(tmp_path: Path) -> Desk:
    """A desk without a site."""
    return Desk(tmp_path / "nowhere")
