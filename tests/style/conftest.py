"""The files of the checkout, read once for all rules."""

import pytest
from tests.style.tree import Exemption, Source, exemptions, python_sources, text_files


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every Python file."""
    return python_sources()


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every text file by its path."""
    return text_files()


@pytest.fixture(scope="session")
def exempted() -> list[Exemption]:
    """What exceptions.txt allows."""
    return exemptions()
