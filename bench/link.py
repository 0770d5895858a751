"""Two network namespaces and the link between them: its rate is set by tbf, and it counts what passes."""

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["SOURCE", "TARGET", "Ends", "joined"]

SOURCE, TARGET = "10.99.0.1", "10.99.0.2"
_BURST_S = 0.002
_LEAST_BURST = 64 << 10  # a segment that the kernel has not cut yet


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


@contextmanager
def joined(name: str = "") -> Generator[Ends]:
    """Make both namespaces and the link; remove them at the end. Needs root."""
    name = name or f"xpb{os.getpid()}"
    ends = Ends(f"{name}-s", f"{name}-t")
    try:
        for each in (ends.source, ends.target):
            _run("ip", "netns", "add", each)
            _run("ip", "-netns", each, "link", "set", "lo", "up")
        pair = ["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", ends.target]
        _run("ip", "-netns", ends.source, *pair)
        for each, address in ((ends.source, SOURCE), (ends.target, TARGET)):
            _run("ip", "-netns", each, "addr", "add", f"{address}/24", "dev", "wire")
            _run("ip", "-netns", each, "link", "set", "wire", "up")
        yield ends
    finally:
        for each in (ends.source, ends.target):
            subprocess.run(["ip", "netns", "delete", each], capture_output=True, check=False)


def _inside(name: str, line: str) -> list[str]:
    return ["ip", "netns", "exec", name, *line.split()]


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
