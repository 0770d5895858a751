"""The simulated cloud keeps what every cloud promises. The embedded one is held to it in tests/lab/local."""

import dataclasses
from pathlib import Path

import pytest

from crossport.clouds.memory import MemoryCloud, MemoryMaker
from crossport.model.artifact import Artifact, Extent
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import VM
from crossport.spi.block import BlockWriter
from crossport.testing.conformance.making import CloudMakerConformance
from crossport.testing.conformance.whole_cloud import WholeCloudConformance
from crossport.testing.file_disk import FileDisks
from crossport.testing.world import ALPHA, web_vm


class SimulatedStage:
    """A simulated cloud of one test's own."""

    image = "boot and data"
    probe = Probe(kind=ProbeKind.HTTP, port=80)
    shutdown_s = 1.0
    other_project = "umbrella"

    def __init__(self, root: Path) -> None:
        self.cloud = MemoryCloud("alpha", root)
        self.cloud.found(ALPHA)

    def described(self, name: str) -> VM:
        return dataclasses.replace(web_vm(), name=name)

    async def content(self, artifact: Artifact) -> bytes:
        reader = FileDisks().open_reader(artifact.ref)
        content = bytearray(artifact.ref.size)
        reader.read_into(0, memoryview(content))
        reader.close()
        return bytes(content)

    async def extents(self, artifact: Artifact) -> list[Extent]:
        return list(FileDisks().open_reader(artifact.ref).extents(0, artifact.ref.size))

    async def scribble(self, vm: VM, start: int, filling: int) -> None:
        with self.cloud.disk_path(vm.disks[0].id).open("r+b") as disk:
            disk.seek(start)
            disk.write(bytes([filling]) * 4096)

    async def fill(self, artifact: Artifact, content: bytes) -> None:
        writer = FileDisks().open_writer(artifact.ref)
        writer.write(0, content)
        writer.flush()
        writer.close()

    def writer(self, artifact: Artifact) -> BlockWriter:
        return FileDisks().open_writer(artifact.ref)


class TestSimulatedCloud(WholeCloudConformance):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> SimulatedStage:
        return SimulatedStage(tmp_path)


class TestSimulatedMaker(CloudMakerConformance):
    driver = "memory"

    @pytest.fixture
    def maker(self, folder: Path) -> MemoryMaker:
        return MemoryMaker(folder)


def test_no_suite_hides_a_test_of_another_one():
    names = [
        name for kind in WholeCloudConformance.__bases__ for name in vars(kind) if name.startswith("test_")
    ]
    assert len(set(names)) == len(names)
