"""Every disk that the product opens passes one suite: plain files, NBD served by QEMU, memory, wrappers."""

import itertools
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from crossport.hypervisor import nbd
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.conformance.block import BlockConformance, DiskSeat
from crossport.testing.memory_disk import MemoryDisks
from crossport.testing.unix_socket import wait_until_it_listens
from crossport.transfer.disk import FileOpener, Opener, Statistics, ThrottledReader


class Seat:
    """A disk by its reference and opener."""

    def __init__(self, opener: Opener, ref: DiskRef) -> None:
        self._opener = opener
        self._ref = ref

    def reader(self) -> BlockReader:
        return self._opener.open_reader(self._ref)

    def writer(self) -> BlockWriter:
        return self._opener.open_writer(self._ref)


class WrappedSeat(Seat):
    """The same disk through wrappers that change nothing."""

    def reader(self) -> BlockReader:
        throttled = ThrottledReader(super().reader(), 1e12, monotonic=time.monotonic, sleep=time.sleep)
        return Statistics(throttled)


class TestFileDisk(BlockConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[bytes], DiskSeat]:
        def made(content: bytes) -> Seat:
            path = tmp_path / "disk.raw"
            path.write_bytes(content)
            return Seat(FileOpener(), DiskRef(kind="file", locator=str(path), size=len(content)))

        return made


class TestMemoryDisk(BlockConformance):
    @pytest.fixture
    def make(self) -> Callable[[bytes], DiskSeat]:
        def made(content: bytes) -> Seat:
            disks = MemoryDisks()
            return Seat(disks, disks.create("alpha/disk", len(content), content if any(content) else b""))

        return made


class TestWrappedDisk(BlockConformance):
    @pytest.fixture
    def make(self) -> Callable[[bytes], DiskSeat]:
        def made(content: bytes) -> Seat:
            disks = MemoryDisks()
            return WrappedSeat(disks, disks.create("alpha/disk", len(content), content))

        return made


class NbdSeat:
    """An export of a running qemu-nbd."""

    def __init__(self, locator: str) -> None:
        self._locator = locator

    def reader(self) -> BlockReader:
        return nbd.open_disk(self._locator, writable=False, timeout_s=10)

    def writer(self) -> BlockWriter:
        return nbd.open_disk(self._locator, writable=True, timeout_s=10)


class NbdConformance(BlockConformance):
    options: tuple[str, ...] = ()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Generator[Callable[[bytes], DiskSeat]]:
        servers = list[subprocess.Popen[bytes]]()
        numbers = itertools.count()

        def made(content: bytes) -> NbdSeat:
            socket = tmp_path / f"{next(numbers)}.sock"
            image = self.image(tmp_path, content)
            argv = ["qemu-nbd", "-k", str(socket), "-x", "disk", "--persistent", "-e", "8", "-t", *image]
            servers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
            wait_until_it_listens(socket)
            return NbdSeat(f"unix:{socket}?export=disk")

        yield made
        for server in servers:
            server.terminate()
            server.wait()

    def image(self, directory: Path, content: bytes) -> list[str]:
        """Make the image; return the arguments that name it."""
        raise NotImplementedError


class TestNbdRaw(NbdConformance):
    def image(self, directory: Path, content: bytes) -> list[str]:
        (directory / "disk.raw").write_bytes(content)
        return ["-f", "raw", str(directory / "disk.raw")]


class TestNbdQcow2(NbdConformance):
    def image(self, directory: Path, content: bytes) -> list[str]:
        raw, image = directory / "disk.raw", directory / "disk.qcow2"
        raw.write_bytes(content)
        argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)]
        subprocess.run(argv, check=True)
        return ["-f", "qcow2", str(image)]


class TestNbdInBlocksOf4096(NbdConformance):
    """A server that takes whole blocks only: ours reads around and rewrites."""

    def test_the_server_really_takes_whole_blocks_only(self, make: Callable[[bytes], DiskSeat]) -> None:
        reader = make(bytes(8192)).reader()
        assert isinstance(reader, nbd.NbdDisk)
        assert reader.min_block == 4096
        reader.close()

    def image(self, directory: Path, content: bytes) -> list[str]:
        path = directory / "disk.raw"
        path.write_bytes(content)
        return [
            "--image-opts",
            f"driver=blkdebug,align=4096,image.driver=file,image.filename={path}",
        ]
