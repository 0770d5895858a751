"""What this machine is and does: facts beside which figures mean something, and meters for one bench."""

import contextlib
import json
import mmap
import os
import platform
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CACHE", "SCRATCH", "CpuMeter", "evict", "facts", "passed_bytes", "pss"]

CACHE = Path.home() / ".cache/crossport/guest"
SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, which /tmp often is not; what is made there is private
_BLOCK = 4 << 20
_SAMPLE = 512 << 20
_CPUACCT = Path("/sys/fs/cgroup/cpuacct")


def facts(folder: Path) -> dict[str, Any]:
    """Return what the figures depend on; disk rates are measured in ``folder``."""
    write_bps, read_bps = _disk_rates(folder)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "qemu": subprocess.run(
            ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True
        ).stdout.split("\n")[0],
        "disk_write_fdatasync_bps": write_bps,
        "disk_read_uncached_bps": read_bps,
        "load_before": os.getloadavg()[0],
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def _disk_rates(folder: Path) -> tuple[float, float]:
    """Write 512 MiB in sequence up to fdatasync, then read them past the page cache: bits per second."""
    path, block = folder / "sample", os.urandom(_BLOCK)
    buffer = mmap.mmap(-1, _BLOCK)  # O_DIRECT wants whole pages
    buffer.write(block)
    try:
        began = time.monotonic()
        with path.open("wb") as file:
            for _ in range(_SAMPLE // _BLOCK):
                file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
        wrote_s = time.monotonic() - began
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        began = time.monotonic()
        while os.readv(descriptor, [buffer]):
            pass
        read_s = time.monotonic() - began
        os.close(descriptor)
    finally:
        path.unlink(missing_ok=True)
    return _SAMPLE * 8 / wrote_s, _SAMPLE * 8 / read_s


def evict(folder: Path) -> None:
    """Write back and drop from the page cache every file below ``folder``."""
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(OSError), path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes: shared pages count by share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def passed_bytes(namespace: str) -> dict[str, int]:
    """Return for each link in the namespace how many bytes have passed it, both ways together."""
    said = subprocess.run(
        ["ip", "-netns", namespace, "-s", "-j", "link"], capture_output=True, check=True
    ).stdout
    return {
        link["ifname"]: link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"]
        for link in json.loads(said)
        if link["ifname"] != "lo"
    }


@dataclass(frozen=True)
class CpuMeter:
    """Counts the CPU seconds of this process and of all it starts from now on, guests included."""

    group: Path | None

    @classmethod
    @contextlib.contextmanager
    def begun(cls) -> "Generator[CpuMeter]":
        """Put this process into a control group of its own until the block is left."""
        group = _CPUACCT / f"crossport-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            yield cls(None)  # no control groups here: CPU seconds stay unknown
            return
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield cls(group)
        finally:
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (_CPUACCT / "cgroup.procs").write_text(pid)
            group.rmdir()

    def seconds(self) -> float | None:
        """Return the CPU seconds used so far; None where nobody counts."""
        if self.group is None:
            return None
        return int((self.group / "cpuacct.usage").read_text()) / 1e9
