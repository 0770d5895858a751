"""The world that most tests of migrations begin with."""

from pathlib import Path

import pytest
from tests.unit.migration.world import World, new_world


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await new_world(tmp_path)
