"""One copy by one tool, as a process of its own: what it took, with all it started at both ends.

Run as ``tool.py NAME SOURCE TARGET SOURCE_NS TARGET_NS``; prints one line of JSON. The clock stops when the
target is synced to its disk: by the tool itself (``--flush``, ``--fsync``, ``conv=fsync``), for ours by the
receiving worker.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from crossport.app.clock import SystemClock
from crossport.model.artifact import DiskRef, Place, Progress, Ticket, Way
from crossport.transfer.confined import LocalHost
from crossport.transfer.simple import SimpleMover
from link import SOURCE, TARGET, Ends
from machine import CpuMeter

__all__ = ["TOOLS"]

_PORT = "10809"
_URI = f"nbd://{TARGET}:{_PORT}/disk"
_READY_S = 10.0
_LOOK_S = 0.1


def _crossport(source: Path, target: Path, ends: Ends) -> float:
    size = source.stat().st_size
    read = _ticket(Way.READ, source, size, _place("alpha", SOURCE, ends.source))
    write = _ticket(Way.WRITE, target, size, _place("beta", TARGET, ends.target))
    began = time.monotonic()
    asyncio.run(SimpleMover(LocalHost(), SystemClock()).move(read, write, _ignore))
    return time.monotonic() - began


def _place(cloud: str, address: str, namespace: str) -> Place:
    return Place(cloud=cloud, subnet="bench", address=address, namespace=namespace)


def _ignore(progress: Progress) -> None:
    del progress


def _ticket(way: Way, path: Path, size: int, place: Place) -> Ticket:
    return Ticket(
        id=f"bench-{way}",
        tenant="bench",
        run="bench",
        epoch=1,
        artifact="disk-0",
        way=way,
        ref=DiskRef(kind="file", locator=str(path), size=size),
        place=place,
        byte_budget=size,
        expires=time.time() + 3600,
        nonce=f"bench-{way}",
    )


def _nbdcopy(source: Path, target: Path, ends: Ends) -> float:
    copy = ["nbdcopy", "--flush", "--destination-is-zero", "--connections=4", str(source), _URI]
    with _served(target, ends):
        return _timed(ends.source, copy)


def _qemu_img(source: Path, target: Path, ends: Ends) -> float:
    flags = ["-n", "--target-is-zero", "-W", "-m", "8", "-f", "raw", "-O", "raw"]
    with _served(target, ends):
        return _timed(ends.source, ["qemu-img", "convert", *flags, str(source), _URI])


def _zstd(source: Path, target: Path, ends: Ends) -> float:
    takes = f"nc -l {TARGET} {_PORT} | zstd -d -q -c | dd of={target} bs=1M iflag=fullblock"
    taker = _begun(ends.target, ["sh", "-c", f"{takes} conv=sparse,fsync,notrunc status=none"])
    _listening(ends.target)
    gives = f"dd if={source} bs=1M status=none | zstd -1 -T0 -q -c | nc -N {TARGET} {_PORT}"
    began = time.monotonic()
    _timed(ends.source, ["sh", "-c", gives])
    if taker.wait():
        raise SystemExit(f"the receiving end failed with {taker.returncode}")
    return time.monotonic() - began


def _rsync(*flags: str) -> Callable[[Path, Path, Ends], float]:
    def copy(source: Path, target: Path, ends: Ends) -> float:
        config = target.with_suffix(".conf")
        config.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[m]\npath = {target.parent}\nread only = no\n")
        listen = ["--address", TARGET, "--port", _PORT]
        server = _begun(ends.target, ["rsync", "--daemon", "--no-detach", f"--config={config}", *listen])
        try:
            _listening(ends.target)
            to = f"rsync://{TARGET}:{_PORT}/m/{target.name}"
            return _timed(ends.source, ["rsync", *flags, "-S", "--fsync", str(source), to])
        finally:
            server.terminate()
            server.wait()

    return copy


TOOLS: dict[str, Callable[[Path, Path, Ends], float]] = {
    "crossport": _crossport,
    "nbdcopy": _nbdcopy,
    "qemu-img convert": _qemu_img,
    "dd, zstd -1 -T0, nc": _zstd,
    "rsync -W": _rsync("-W"),
    "rsync -z": _rsync("-W", "-z", "--zc=zstd", "--zl=1"),
}


@contextmanager
def _served(target: Path, ends: Ends) -> Generator[None]:
    flags = ["-t", "-f", "raw", "-e", "8", "-b", TARGET, "-p", _PORT, "-x", "disk", "--discard=unmap"]
    server = _begun(ends.target, ["qemu-nbd", *flags, str(target)])
    try:
        _listening(ends.target)
        yield
    finally:
        server.terminate()
        server.wait()


def _begun(namespace: str, argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["ip", "netns", "exec", namespace, *argv])


def _timed(namespace: str, argv: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(["ip", "netns", "exec", namespace, *argv], check=True)
    return time.monotonic() - began


def _listening(namespace: str) -> None:
    deadline, wanted = time.monotonic() + _READY_S, f":{int(_PORT):04X}"
    look = ["ip", "netns", "exec", namespace, "cat", "/proc/net/tcp"]
    while time.monotonic() < deadline:
        said = subprocess.run(look, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        if any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in said):
            return
        time.sleep(0.02)
    raise SystemExit("the receiving end does not listen")


class _Peaks(threading.Thread):
    """Looks at every process that this one started, and remembers the most memory that each ever had."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._peaks = dict[str, int]()

    def run(self) -> None:
        own = f"{os.getpid()}"
        while True:
            group = Path(f"/proc/{own}/cgroup").read_text()
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if path.name != own and (path / "cgroup").read_text() == group:
                        self._look(path)
            time.sleep(_LOOK_S)

    def size(self) -> int:
        """Return the sum over all processes, of both ends."""
        return sum(list(self._peaks.values()))

    def _look(self, path: Path) -> None:
        for line in (path / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self._peaks[path.name] = int(line.split()[1]) * 1024


def main() -> int:
    """Copy once."""
    name, source, target, *namespaces = sys.argv[1:]
    with CpuMeter.begun() as cpu:
        peaks, before = _Peaks(), cpu.seconds()
        peaks.start()
        seconds = TOOLS[name](Path(source), Path(target), Ends(*namespaces))
        after = cpu.seconds()
    spent = None if after is None or before is None else after - before
    print(json.dumps({"seconds": seconds, "cpu_seconds": spent, "peak_rss_bytes": peaks.size()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
