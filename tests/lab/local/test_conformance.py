"""The embedded cloud keeps what every cloud promises, with real QEMU, disks and sockets."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds

from crossport.clouds.local import LocalCloud, destroy
from crossport.clouds.local.spec import Layout
from crossport.hypervisor import nbd, qmp
from crossport.model.artifact import Artifact, Extent
from crossport.model.vm import VM
from crossport.spi.block import BlockWriter
from crossport.testing.conformance.whole_cloud import WholeCloudConformance

pytestmark = pytest.mark.qemu

PROJECTS = ("default", "umbrella")
BACKEND = "/machine/peripheral/disk-0/virtio-backend"


class RealStage:
    """An embedded cloud; VMs of the tests before are gone."""

    image = clouds.IMAGE
    probe = clouds.STATE
    shutdown_s = 60.0
    other_project = PROJECTS[1]

    def __init__(self, cloud: LocalCloud, root: Path) -> None:
        self.cloud = cloud
        self.root = root

    def described(self, name: str) -> VM:
        return clouds.described(name)

    async def content(self, artifact: Artifact) -> bytes:
        return await asyncio.to_thread(clouds.content, artifact)

    async def extents(self, artifact: Artifact) -> list[Extent]:
        return await asyncio.to_thread(extents, artifact)

    async def scribble(self, vm: VM, start: int, filling: int) -> None:
        """Write through the disk's device, as the guest's driver does."""
        async with qmp.monitor(Layout(self.root).vm(vm.id) / "control") as steer:
            said = await steer.ask_hmp(
                f'qemu-io -d /machine/peripheral/disk-0/virtio-backend "write -P {filling} {start} 4096"'
            )
        assert "error" not in said.lower(), said

    async def fill(self, artifact: Artifact, content: bytes) -> None:
        await asyncio.to_thread(clouds.fill, artifact, content)

    def writer(self, artifact: Artifact) -> BlockWriter:
        return nbd.open_disk(artifact.ref.locator, writable=True)


def extents(artifact: Artifact) -> list[Extent]:
    disk = nbd.open_disk(artifact.ref.locator, writable=False)
    try:
        return list(disk.extents(0, artifact.ref.size))
    finally:
        disk.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clouds") / "alpha"


@pytest.fixture(scope="module")
def made(root: Path) -> Generator[Path]:
    """Keep one cloud, and its service, for all tests of the file; each connects by itself."""
    asyncio.run(clouds.prepared(root, clouds.guest_image(root.parent), projects=PROJECTS))
    yield root
    asyncio.run(destroy(root))


class TestEmbeddedCloud(WholeCloudConformance):
    @pytest.fixture
    async def stage(self, made: Path) -> AsyncGenerator[RealStage]:
        cloud = await clouds.connected(made)
        yield RealStage(cloud, made)
        await clouds.cleared(cloud)
        await cloud.close()
