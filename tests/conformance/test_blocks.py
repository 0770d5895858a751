"""Every disk that the product opens passes one suite: plain files, NBD served by QEMU, memory, wrappers."""

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossport.hypervisor import nbd
from crossport.hypervisor.qmp import monitor
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.conformance.block import SIZE, BlockConformance, DiskSeat, noise, whole
from crossport.testing.faulty_disk import Flicker, FlickeringReader, FlickeringWriter, ForgetfulWriter
from crossport.testing.memory_disk import MemoryDisks
from crossport.testing.unix_socket import wait_until_it_listens
from crossport.transfer.disk import FileOpener, Opener
from crossport.transfer.retry import RetryingReader, RetryingWriter
from crossport.transfer.throttle import Throttle
from crossport.transfer.wrapper import CountedWriter, Statistics, ThrottledReader, ThrottledWriter


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
        return Statistics(ThrottledReader(super().reader(), Throttle(time.monotonic, 1e12)))

    def writer(self) -> BlockWriter:
        return CountedWriter(ThrottledWriter(super().writer(), Throttle(time.monotonic, 1e12)))


class FlickeringSeat(Seat):
    """A disk that is away now and then, through wrappers that try again."""

    def reader(self) -> BlockReader:
        flicker = Flicker(2, 3, 7, 20)
        return RetryingReader(lambda: FlickeringReader(Seat.reader(self), flicker), sleep=_at_once)

    def writer(self) -> BlockWriter:
        flicker = Flicker(2, 3, 20)
        return RetryingWriter(lambda: FlickeringWriter(Seat.writer(self), flicker), sleep=_at_once)


class PowerCutSeat(Seat):
    """A disk that is away now and then and has then lost what was not flushed."""

    def reader(self) -> BlockReader:
        return super().reader()

    def writer(self) -> BlockWriter:
        flicker = Flicker(2, 3, 4, 30)

        def fragile() -> BlockWriter:
            return FlickeringWriter(ForgetfulWriter(Seat.writer(self)), flicker)

        return RetryingWriter(fragile, sleep=_at_once)


def _at_once(seconds: float) -> None:
    del seconds


class TestFileDisk(BlockConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[bytes], DiskSeat]:
        def made(content: bytes) -> Seat:
            path = tmp_path / "disk.raw"
            path.write_bytes(content)
            return Seat(FileOpener(), DiskRef(kind="file", locator=str(path), size=len(content)))

        return made


class MemoryConformance(BlockConformance):
    seat: type[Seat] = Seat

    @pytest.fixture
    def make(self) -> Callable[[bytes], DiskSeat]:
        def made(content: bytes) -> Seat:
            disks = MemoryDisks()
            return self.seat(
                disks, disks.create("alpha/disk", len(content), content if any(content) else b"")
            )

        return made


class TestMemoryDisk(MemoryConformance):
    pass


class TestWrappedDisk(MemoryConformance):
    seat = WrappedSeat


class TestFlickeringDisk(MemoryConformance):
    seat = FlickeringSeat


class TestDiskThatLosesWhatWasNotFlushed(MemoryConformance):
    """Readers see only what was flushed, so that this is the writers' half of the suite."""

    seat = PowerCutSeat

    def test_many_threads_may_read_and_write_at_once(self, make: Callable[[bytes], DiskSeat]) -> None:
        seat, part = make(bytes(SIZE)), 64 << 10
        writer = seat.writer()

        def rewrite(number: int) -> None:
            writer.write(number * part, noise(part, f"{number}"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(rewrite, range(48)))
        writer.flush()
        writer.close()
        assert whole(seat) == b"".join(noise(part, f"{number}") for number in range(48))


@pytest.mark.root
class TestBlockDevice(BlockConformance):
    """A loop device."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Generator[Callable[[bytes], DiskSeat]]:
        devices = list[str]()

        def made(content: bytes) -> Seat:
            image = tmp_path / f"{len(devices)}.raw"
            image.write_bytes(content)
            losetup = ["losetup", "--find", "--show", str(image)]
            devices.append(subprocess.run(losetup, check=True, capture_output=True, text=True).stdout.strip())
            return Seat(FileOpener(), DiskRef(kind="file", locator=devices[-1], size=len(content)))

        yield made
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=True)


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


@pytest.mark.qemu
class TestDiskOfRunningQemu(BlockConformance):
    """A disk that a VM has: QEMU itself serves it."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Generator[Callable[[bytes], DiskSeat]]:
        machines = list[subprocess.Popen[bytes]]()

        def made(content: bytes) -> NbdSeat:
            image, control, served = (tmp_path / f"{len(machines)}.{end}" for end in ("raw", "qmp", "nbd"))
            image.write_bytes(content)
            machines.append(subprocess.Popen(_machine(image, control), stderr=subprocess.DEVNULL))
            wait_until_it_listens(control)
            asyncio.run(_serve_disk(control, served))
            return NbdSeat(f"unix:{served}?export=disk")

        yield made
        for machine in machines:
            machine.terminate()
            machine.wait()


def _machine(image: Path, control: Path) -> list[str]:
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-S"),
        *("-blockdev", f"driver=file,filename={image},node-name=file,discard=unmap"),
        *("-blockdev", "driver=raw,file=file,node-name=disk,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=disk,share-rw=on"),
        *("-qmp", f"unix:{control},server=on,wait=off"),
    ]


async def _serve_disk(control: Path, served: Path) -> None:
    async with monitor(control) as steer:
        address = {"type": "unix", "data": {"path": str(served)}}
        await steer.execute("nbd-server-start", {"addr": address, "max-connections": 8})
        export = {"type": "nbd", "id": "disk", "node-name": "disk", "name": "disk", "writable": True}
        await steer.execute("block-export-add", export)
