"""One copy by one tool, as a process of its own: what it took, with all it started at both ends.

Run as ``tool.py NAME SOURCE TARGET SOURCE_NS TARGET_NS``; prints one line of JSON. ``seconds`` is all that a
person waits for; ``copy_seconds``, which only Crossport tells, leaves out the start of its confined workers.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from link import Ends
from machine import CpuMeter
from ours import Copier
from peers import PEERS

__all__ = ["OURS", "TOOLS", "Peaks"]

OURS = "crossport"
TOOLS = (OURS, *PEERS)


def _copied(name: str, source: Path, target: Path, ends: Ends) -> dict[str, float | None]:
    if name != OURS:
        return {"seconds": PEERS[name](source, target, ends), "copy_seconds": None}
    with tempfile.TemporaryDirectory(dir=target.parent) as journals:
        began = time.monotonic()
        copier = Copier(source, target, ends, Path(journals))
        asyncio.run(copier.copied())
        return {"seconds": time.monotonic() - began, "copy_seconds": copier.copy_seconds}


class Peaks(threading.Thread):
    """Looks at every process that this one started, and remembers the most memory that each ever had.

    ``at_once`` is the most that all had at the same moment. With ``group``, a control group, only what is in
    that is looked at: to look at all of the machine takes a part of the processor that is measured.
    """

    def __init__(self, look_s: float = 0.1, group: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.at_once = 0
        self._group = group
        self._look_s = look_s
        self._peaks = dict[str, int]()

    def run(self) -> None:
        while True:
            size = 0
            for path in self._others():
                with contextlib.suppress(OSError):
                    size += self._look(path)
            self.at_once = max(self.at_once, size)
            time.sleep(self._look_s)

    def size(self) -> int:
        """Return the sum over all processes, of both ends."""
        return sum(list(self._peaks.values()))

    def _others(self) -> Iterator[Path]:
        own = f"{os.getpid()}"
        if self._group is not None:
            pids = (self._group / "cgroup.procs").read_text().split()
            yield from (Path("/proc", pid) for pid in pids if pid != own)
            return
        group = Path(f"/proc/{own}/cgroup").read_text()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if path.name != own and (path / "cgroup").read_text() == group:
                    yield path

    def _look(self, path: Path) -> int:
        lines = (line.split() for line in (path / "status").read_text().splitlines())
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if words[0] in {"VmHWM:", "VmRSS:"}}
        if sizes:
            self._peaks[path.name] = sizes["VmHWM:"]
        return sizes.get("VmRSS:", 0)


def main() -> int:
    """Copy once."""
    signal.signal(signal.SIGTERM, _stopped)
    name, source, target, *namespaces = sys.argv[1:]
    with CpuMeter.begun() as cpu:
        peaks, before = Peaks(group=cpu.group), cpu.seconds()
        peaks.start()
        took = _copied(name, Path(source), Path(target), Ends(*namespaces))
        after = cpu.seconds()
    spent = None if after is None or before is None else after - before
    print(json.dumps({**took, "cpu_seconds": spent, "peak_rss_bytes": peaks.size()}))
    return 0


def _stopped(number: int, _: object) -> None:
    """End as at Ctrl-C: what was begun is ended on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
