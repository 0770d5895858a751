"""A site with a door, for the tests of one module each."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.gateway import rig


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[rig.Site]:
    one = await rig.opened(tmp_path)
    yield one
    await one.close()
