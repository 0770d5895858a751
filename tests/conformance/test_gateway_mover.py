"""The mover passes its suite where both workers run at gateways, which keep content for each tenant."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.conformance.test_movers import FileBench
from tests.unit.gateway import rig

from crossport.model.artifact import Place, Way
from crossport.testing.conformance.mover import DigestingMover, MoverConformance
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.simple import SimpleMover


class GatewayBench(FileBench):
    """Files of this machine, at two gateways of it."""

    def __init__(self, directory: Path, mover: DigestingMover) -> None:
        super().__init__(directory)
        self.mover = mover

    def place(self, way: Way) -> Place:
        return rig.place(rig.EXPORT if way is Way.READ else rig.IMPORT)


class TestMoverBetweenGateways(MoverConformance):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncGenerator[GatewayBench]:
        site = await rig.opened(tmp_path)
        for subnet in (rig.EXPORT, rig.IMPORT):
            await site.gateway(subnet)
        yield GatewayBench(tmp_path, SimpleMover(site.hub, site.clock, names=NameKeys(bytes(32))))
        await site.close()
