"""Each test here has a lab of its own."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.transfer.transfer_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()
