"""What connects two sites passes one suite: in memory."""

import pytest

from crossport.app.clock import SystemClock
from crossport.testing.conformance.partner import Pair, PartnerLinkConformance
from crossport.testing.partner import MemoryWorld


class TestMemoryLink(PartnerLinkConformance):
    @pytest.fixture
    def pair(self) -> Pair:
        world = MemoryWorld(SystemClock())
        world.accept("north", "south")
        return Pair(world.site("north"), world.site("south"))
