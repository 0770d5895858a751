"""Two sites as their operators have them; files that need less of a site make their own."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.partner.exchange_rig import Node


@pytest.fixture
async def north(tmp_path: Path) -> AsyncGenerator[Node]:
    node = await Node(tmp_path, "north").open()
    yield node
    await node.close()


@pytest.fixture
async def south(tmp_path: Path) -> AsyncGenerator[Node]:
    node = await Node(tmp_path, "south").open()
    yield node
    await node.close()
