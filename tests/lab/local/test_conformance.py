"""The embedded cloud keeps what every cloud promises, with real QEMU, disks and sockets."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds

from crossport.clouds.local import LocalCloud, destroy
from crossport.hypervisor import nbd
from crossport.model.artifact import Artifact
from crossport.model.vm import VM
from crossport.spi.block import BlockWriter
from crossport.testing.conformance import cloud as suite
from crossport.testing.conformance import cloud_moving as moving

pytestmark = pytest.mark.qemu


class RealStage:
    """An embedded cloud; VMs of the tests before are gone."""

    image = clouds.IMAGE
    probe = clouds.STATE
    shutdown_s = 60.0

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud

    def described(self, name: str) -> VM:
        return clouds.described(name)

    async def content(self, artifact: Artifact) -> bytes:
        return await asyncio.to_thread(clouds.content, artifact)

    async def fill(self, artifact: Artifact, content: bytes) -> None:
        await asyncio.to_thread(clouds.fill, artifact, content)

    def writer(self, artifact: Artifact) -> BlockWriter:
        return nbd.open_disk(artifact.ref.locator, writable=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clouds") / "alpha"


@pytest.fixture(scope="module")
def made(root: Path) -> Generator[Path]:
    """Keep one cloud, and its service, for all tests of the file; each connects by itself."""
    asyncio.run(clouds.prepared(root, clouds.guest_image(root.parent)))
    yield root
    asyncio.run(destroy(root))


class TestEmbeddedCloud(
    suite.CloudConformance,
    suite.InventoryConformance,
    suite.ProvisionerConformance,
    suite.PowerConformance,
    suite.FencerConformance,
    suite.ProberConformance,
    suite.ConsoleConformance,
    suite.GatewayHostConformance,
    moving.ExporterConformance,
    moving.ImporterConformance,
):
    @pytest.fixture
    async def stage(self, made: Path) -> AsyncGenerator[RealStage]:
        cloud = await clouds.connected(made)
        yield RealStage(cloud)
        await clouds.cleared(cloud)
        await cloud.close()
