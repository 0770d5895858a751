"""What keeps gateways for people passes one suite: in memory, and at a site with a door."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.gateway import rig

from crossport.model.gateway import Enrolment
from crossport.spi.gateway import Gateways
from crossport.testing.conformance.gateway import GatewaysConformance
from crossport.testing.gateway import MemoryGateways


class MemoryStage:
    def __init__(self) -> None:
        self.memory = MemoryGateways(rig.MachineClock())
        self.gateways: Gateways = self.memory

    async def joined(self, enrolment: Enrolment) -> None:
        await self.memory.joined(enrolment)


class SiteStage:
    def __init__(self, site: rig.Site) -> None:
        self.site = site
        self.gateways: Gateways = site.hub

    async def joined(self, enrolment: Enrolment) -> None:
        await self.site.joined(enrolment)


class TestMemoryGateways(GatewaysConformance):
    @pytest.fixture
    def stage(self) -> MemoryStage:
        return MemoryStage()


class TestSiteGateways(GatewaysConformance):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncGenerator[SiteStage]:
        site = await rig.opened(tmp_path)
        yield SiteStage(site)
        await site.close()
