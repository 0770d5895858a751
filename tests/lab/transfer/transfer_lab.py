"""What the tests here share: a mover with real workers, disks served by qemu-nbd, and a look at processes."""

import asyncio
import itertools
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from crossport.model.artifact import DiskRef, Place, Ticket, Way
from crossport.testing.unix_socket import wait_until_it_listens
from crossport.transfer.confined import LocalHost
from crossport.transfer.simple import SimpleMover


class MachineClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Process:
    """One process of this machine, as /proc tells."""

    pid: int

    @property
    def name(self) -> str:
        return self._file("cmdline").replace("\0", " ")

    @property
    def peak_size(self) -> int:
        [line] = [line for line in self._file("status").splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    @property
    def uid(self) -> int:
        [line] = [line for line in self._file("status").splitlines() if line.startswith("Uid")]
        return int(line.split()[1])

    @property
    def environment(self) -> str:
        return self._file("environ")

    def _file(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()


def workers_of(ancestor: int) -> list[Process]:
    """Return the Python processes of the workers that ``ancestor`` started."""
    parents = dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(path.parent.name)] = int(fields[1])
    found = list[Process]()
    for pid in parents:
        above = pid
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and _is_worker(pid):
            found.append(Process(pid))
    return found


def _is_worker(pid: int) -> bool:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"python" in argv[0] and b"crossport.transfer.worker" in argv


class Lab:
    """What a test copies between, and with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = MachineClock()
        self.mover = SimpleMover(LocalHost(directory / "journals"), self.clock)
        self._servers = list[subprocess.Popen[bytes]]()
        self._numbers = itertools.count()

    def file(self, content: bytes = b"", size: int = 0) -> DiskRef:
        path = self.directory / f"{next(self._numbers)}.raw"
        path.write_bytes(content)
        with path.open("r+b") as file:
            file.truncate(max(size, len(content)))
        return DiskRef(kind="file", locator=str(path), size=max(size, len(content)))

    def served(self, file: DiskRef, rate: int = 0, mode: int = 0o666) -> DiskRef:
        """Serve a file; at most ``rate`` bytes per second."""
        socket = Path(file.locator).with_suffix(".sock")
        image = ["-f", "raw", file.locator]
        if rate:
            throttle = "driver=throttle,throttle-group=slow,file.driver=file,file.filename="
            group = f"throttle-group,id=slow,x-bps-total={rate}"
            image = ["--object", group, "--image-opts", throttle + file.locator]
        argv = ["qemu-nbd", "-k", str(socket), "-x", "disk", "--persistent", "-e", "8", *image]
        self._servers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        wait_until_it_listens(socket)
        socket.chmod(mode)
        return DiskRef(kind="nbd", locator=f"unix:{socket}?export=disk", size=file.size)

    def place(self, address: str = "127.0.0.1", namespace: str = "") -> Place:
        return Place(cloud="alpha", subnet="VMExportSubnet", address=address, namespace=namespace)

    def tickets(
        self, source: DiskRef, target: DiskRef, places: tuple[Place, Place] | None = None
    ) -> tuple[Ticket, Ticket]:
        ends = places or (self.place(), self.place())

        def ticket(way: Way, ref: DiskRef, place: Place) -> Ticket:
            return Ticket(
                id=f"ticket-{way}",
                tenant="acme",
                run="run-1",
                epoch=1,
                artifact="disk-0",
                way=way,
                ref=ref,
                place=place,
                byte_budget=1 << 40,
                expires=time.time() + 600,
                nonce=f"nonce-of-{way}",
            )

        return ticket(Way.READ, source, ends[0]), ticket(Way.WRITE, target, ends[1])

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
