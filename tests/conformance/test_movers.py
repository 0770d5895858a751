"""Every mover passes one suite: in memory, between files, NBD exports, from what only comes in order."""

import asyncio
import contextlib
import itertools
import subprocess
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.transfer.web import Web, web

from crossport.model.artifact import DiskRef, Place, Way
from crossport.testing.conformance.block import noise
from crossport.testing.conformance.mover import (
    DigestingMover,
    MoverBench,
    MoverConformance,
    root_of,
    tickets,
)
from crossport.testing.memory_disk import MemoryDisks
from crossport.testing.mover import CHUNK, MemoryMover
from crossport.testing.unix_socket import wait_until_it_listens
from crossport.transfer.confined import LocalHost
from crossport.transfer.egress import Egress
from crossport.transfer.simple import Settings, SimpleMover


class MachineClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class HerePlace:
    """Both ends work on this machine."""

    def place(self, way: Way) -> Place:
        subnet = "VMExportSubnet" if way is Way.READ else "VMImportSubnet"
        return Place(cloud="alpha", subnet=subnet, address="127.0.0.1")


class MemoryBench(HerePlace):
    def __init__(self) -> None:
        self.disks = MemoryDisks()
        self.mover: DigestingMover = MemoryMover(self.disks, MachineClock())
        self._numbers = itertools.count()

    def source(self, content: bytes) -> DiskRef:
        return self.target(len(content), content)

    def target(self, size: int, content: bytes = b"") -> DiskRef:
        ref = self.disks.create(f"alpha/{next(self._numbers)}", size)
        writer = self.disks.open_writer(ref)
        for at in range(0, len(content), 65536):
            if any(content[at : at + 65536]):
                writer.write(at, content[at : at + 65536])
        writer.close()
        return ref

    def content(self, ref: DiskRef) -> bytes:
        return self.disks.content(ref.locator)

    def spoil(self, ref: DiskRef, position: int) -> None:
        writer = self.disks.open_writer(ref)
        writer.write(position, bytes([self.content(ref)[position] ^ 1]))
        writer.close()

    def lose(self, ref: DiskRef) -> None:
        self.disks.remove(ref.locator)


class FileBench(HerePlace):
    """Sparse plain files."""

    def __init__(self, directory: Path) -> None:
        self.mover: DigestingMover = SimpleMover(LocalHost(directory / "journals"), MachineClock())
        self.directory = directory
        self._numbers = itertools.count()

    def source(self, content: bytes) -> DiskRef:
        return self.target(len(content), content)

    def target(self, size: int, content: bytes = b"") -> DiskRef:
        path = self.directory / f"{next(self._numbers)}.raw"
        with path.open("wb") as file:
            for at in range(0, len(content), 65536):
                if any(content[at : at + 65536]):
                    file.seek(at)
                    file.write(content[at : at + 65536])
            file.truncate(size)
        return DiskRef(kind="file", locator=str(path), size=size, identity=path.name)

    def path(self, ref: DiskRef) -> Path:
        return Path(ref.locator)

    def content(self, ref: DiskRef) -> bytes:
        return self.path(ref).read_bytes()

    def spoil(self, ref: DiskRef, position: int) -> None:
        with self.path(ref).open("r+b") as file:
            file.seek(position)
            [byte] = file.read(1)
            file.seek(position)
            file.write(bytes([byte ^ 1]))

    def lose(self, ref: DiskRef) -> None:
        self.path(ref).unlink()


class NbdBench(FileBench):
    """The same files, each served by a qemu-nbd of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def target(self, size: int, content: bytes = b"") -> DiskRef:
        file = super().target(size, content)
        socket = Path(file.locator).with_suffix(".sock")
        argv = ["qemu-nbd", "-f", "raw", "-k", str(socket), "-x", "disk", "--persistent", "-e", "8"]
        server = subprocess.Popen([*argv, "--discard=unmap", file.locator], stderr=subprocess.DEVNULL)
        wait_until_it_listens(socket)
        socket.chmod(0o666)
        ref = replace(file, kind="nbd", locator=f"unix:{socket}?export=disk")
        self.servers[ref.locator] = server
        return ref

    def path(self, ref: DiskRef) -> Path:
        return Path(ref.locator.removeprefix("unix:").partition("?")[0]).with_suffix(".raw")

    def content(self, ref: DiskRef) -> bytes:
        return super().content(ref)[: ref.size]  # QEMU may have rounded the file up

    def lose(self, ref: DiskRef) -> None:
        self._end(self.servers[ref.locator])

    def close(self) -> None:
        for server in self.servers.values():
            self._end(server)

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        server.kill()  # asked to end while it is still starting, qemu-nbd forgets it
        server.wait()


class StreamBench(FileBench):
    """Sources that a web server gives in order only, set aside while they are read; targets are files."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        copies = Settings(egress=Egress(["127.0.0.0/8"]))
        self.mover = SimpleMover(LocalHost(directory / "journals"), MachineClock(), copies)
        self.served: dict[str, Web] = {}
        self.serving = contextlib.ExitStack()

    def source(self, content: bytes) -> DiskRef:
        served = self.serving.enter_context(web(content))
        served.ranges, served.etag = False, None
        self.served[served.url] = served
        return DiskRef(kind="http", locator=served.url, size=len(content))

    def content(self, ref: DiskRef) -> bytes:
        return self.served[ref.locator].content if ref.kind == "http" else super().content(ref)

    def spoil(self, ref: DiskRef, position: int) -> None:
        if ref.kind != "http":
            super().spoil(ref, position)
            return
        served = self.served[ref.locator]
        spoiled = bytearray(served.content)
        spoiled[position] ^= 1
        served.content = bytes(spoiled)

    def lose(self, ref: DiskRef) -> None:
        if ref.kind == "http":
            self.served[ref.locator].answers = [0] * 1000
        else:
            super().lose(ref)


class TestMemoryMover(MoverConformance):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench()


class TestSimpleMoverBetweenFiles(MoverConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> FileBench:
        return FileBench(tmp_path)


class TestSimpleMoverFromStreams(MoverConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Generator[StreamBench]:
        bench = StreamBench(tmp_path)
        with bench.serving:
            yield bench

    async def test_holes_cost_nothing(self, bench: MoverBench) -> None:
        """A stream has to be read whole; only what it holds is sent and written."""
        content = noise(CHUNK) + bytes(40 * CHUNK) + noise(CHUNK)
        source, target = bench.source(content), bench.target(len(content))
        moved = await bench.mover.move(*tickets(bench, source, target), lambda progress: None)
        assert (moved.root, moved.counters.read) == (root_of(content), len(content))
        assert moved.counters.sent < 2.1 * CHUNK
        assert moved.counters.written == 2 * CHUNK


class TestSimpleMoverBetweenNbdExports(MoverConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Generator[NbdBench]:
        bench = NbdBench(tmp_path)
        yield bench
        bench.close()
