"""What connects two sites passes one suite: in memory, and over mutual TLS."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.partner import rig

from crossport.app.clock import SystemClock
from crossport.testing.conformance.partner import Pair, PartnerLinkConformance
from crossport.testing.partner import MemoryWorld


class TestMemoryLink(PartnerLinkConformance):
    @pytest.fixture
    def pair(self) -> Pair:
        world = MemoryWorld(SystemClock())
        world.accept("north", "south")
        return Pair(world.site("north"), world.site("south"))


class TestTlsLink(PartnerLinkConformance):
    @pytest.fixture
    async def pair(self, tmp_path: Path) -> AsyncGenerator[Pair]:
        north = await rig.Site(tmp_path, "north").open()
        south = await rig.Site(tmp_path, "south").open()
        await rig.befriend(north, south)
        yield Pair(north, south)
        await north.close()
        await south.close()
