"""Two network namespaces and the link between them: its rate is set by tbf, and it counts what passes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SOURCE", "TARGET", "Distance", "Ends", "joined"]

SOURCE, TARGET = "10.99.0.1", "10.99.0.2"
_BURST_S = 0.002
_LEAST_BURST = 72 << 10  # what the kernel has not cut yet, with all headers; less, and tbf never lets it go


@dataclass(frozen=True)
class Ends:
    """The namespaces at both ends. The source has the address ``SOURCE``, the target ``TARGET``."""

    source: str
    target: str

    def passed_bytes(self) -> int:
        """Return how many bytes have passed the link, both ways together."""
        return sum(self._counted(name) for name in (self.source, self.target))

    def limit(self, rate_mbit: int) -> None:
        """Let the link carry so much each way; 0 is no limit."""
        for name in (self.source, self.target):
            if not rate_mbit:
                _run(
                    "ip",
                    "netns",
                    "exec",
                    name,
                    *["tc", "qdisc", "replace", "dev", "wire", "root", "pfifo", "limit", "1000"],
                )
                continue
            burst = max(_LEAST_BURST, int(rate_mbit * 1e6 / 8 * _BURST_S))
            line = f"tc qdisc replace dev wire root tbf rate {rate_mbit}mbit burst {burst} latency 40ms"
            _run(*_inside(name, line))

    def _counted(self, name: str) -> int:
        said = _run("ip", "-netns", name, "-s", "-j", "link", "show", "wire")
        return int(json.loads(said)[0]["stats64"]["tx"]["bytes"])


@dataclass(frozen=True)
class Distance:
    """How far the ends are from each other, and which share of packets is lost each way."""

    round_trip_ms: int = 0
    loss: float = 0.0


@contextmanager
def joined(distance: Distance | None = None) -> Generator[Ends]:
    """Make both namespaces and the link; remove them at the end. Needs root."""
    _swept()
    name = f"xpb{os.getpid()}"
    ends = Ends(f"{name}-s", f"{name}-t")
    try:
        for each in (ends.source, ends.target):
            _run("ip", "netns", "add", each)
            _run("ip", "-netns", each, "link", "set", "lo", "up")
        with _wired(ends, distance):
            for each, address in ((ends.source, SOURCE), (ends.target, TARGET)):
                _run("ip", "-netns", each, "addr", "add", f"{address}/24", "dev", "wire")
                _run("ip", "-netns", each, "link", "set", "wire", "up")
            yield ends
    finally:
        for each in (ends.source, ends.target):
            subprocess.run(["ip", "netns", "delete", each], capture_output=True, check=False)


@contextmanager
def _wired(ends: Ends, distance: Distance | None) -> Generator[None]:
    """Join the namespaces directly, or at a distance, as long as this lasts."""
    if distance is None:
        pair = ["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", ends.target]
        _run("ip", "-netns", ends.source, *pair)
        yield
        return
    argv = [sys.executable, str(Path(__file__).with_name("distance.py")), ends.source, ends.target]
    with subprocess.Popen(
        [*argv, str(distance.round_trip_ms / 2), str(distance.loss)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise SystemExit("The link did not come about: look at what was said above.")
            yield
        finally:
            process.kill()


def _swept() -> None:
    """Remove what benches that were killed left."""
    for each in json.loads(_run("ip", "-j", "netns", "list") or "[]"):
        made = re.fullmatch(r"xpb(\d+)-[st]", each["name"])
        if made and not Path("/proc", made[1]).exists():
            _run("ip", "netns", "delete", each["name"])


def _inside(name: str, line: str) -> list[str]:
    return ["ip", "netns", "exec", name, *line.split()]


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
