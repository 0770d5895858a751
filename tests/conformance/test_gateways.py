"""A site with a door keeps what `crossport.spi.gateway.Gateways` promises."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.gateway import rig

from crossport.model.gateway import Enrolment
from crossport.spi.gateway import Gateways
from crossport.testing.conformance.gateway import GatewaysConformance


class SiteStage:
    def __init__(self, site: rig.Site) -> None:
        self.site = site
        self.gateways: Gateways = site.hub

    async def joined(self, enrolment: Enrolment) -> None:
        await self.site.joined(enrolment)


class TestSiteGateways(GatewaysConformance):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncGenerator[SiteStage]:
        site = await rig.opened(tmp_path)
        yield SiteStage(site)
        await site.close()
