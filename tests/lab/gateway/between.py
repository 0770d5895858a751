"""Two gateways as processes in two network namespaces that a link joins, and a site in the test itself."""

import asyncio
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.lab.gateway.gateway_process import GatewayProcess
from tests.unit.gateway import rig
from tests.unit.gateway.rig import EXPORT, IMPORT, Site, place

from crossport.model.artifact import DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.transfer.dialling import Dialling
from crossport.transfer.pair import Settings
from crossport.transfer.simple import SimpleMover

__all__ = ["SEATS", "Between", "run"]

SEATS = (EXPORT, IMPORT)
DEVICE = "wan"
# Within the namespace: what passes the link is dropped, in both directions.
CUT = f"""
table inet cut {{
  chain in {{ type filter hook input priority -1; iifname "{DEVICE}" drop; }}
  chain out {{ type filter hook output priority -1; oifname "{DEVICE}" drop; }}
}}
"""
# Nobody may open a connection from outside.
CLOSED = """
table inet nat {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""


def run(*argv: str, told: str = "") -> None:
    """Run a command of this machine."""
    subprocess.run(argv, check=True, input=told, text=True)


@dataclass
class Between:
    """The gateways at both ends, the source's first. ``seen`` is the progress that was told last."""

    site: Site
    names: tuple[str, str]
    home: Path
    gateways: list[GatewayProcess] = field(default_factory=list[GatewayProcess])
    seen: list[Progress] = field(default_factory=list[Progress])

    async def join(self) -> None:
        for subnet, name in zip(SEATS, self.names, strict=True):
            within = ("ip", "netns", "exec", name)
            joined = await GatewayProcess.joined(self.site, self.home / subnet, subnet, within)
            self.gateways.append(joined)

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.kill()

    # The link.
    def rules(self, end: int, rules: str) -> None:
        """Let rules of nftables hold at one end."""
        run("ip", "netns", "exec", self.names[end], "nft", "-f", "-", told=rules)

    def cut(self) -> None:
        """Let nothing pass, without a word to anybody."""
        self.rules(0, CUT)

    def mend(self) -> None:
        self.rules(0, "delete table inet cut")

    def limit(self, rate: str) -> None:
        for name in self.names:
            run(
                *("tc", "-n", name, "qdisc", "replace", "dev", DEVICE, "root"),
                *("tbf", "rate", rate, "burst", "128kb", "latency", "50ms"),
            )

    # Copies.
    def ends(self) -> tuple[Place, Place]:
        """Return the seats of both gateways."""
        source, target = (
            replace(place(subnet), address=f"10.98.9.{number}") for number, subnet in enumerate(SEATS, 1)
        )
        return source, target

    def disk(self, name: str, content: bytes) -> DiskRef:
        """Return a disk in a file."""
        path = self.home / name
        path.write_bytes(content)
        return DiskRef(kind="file", locator=str(path), size=len(content), identity=name)

    def tickets(self, source: DiskRef, target: DiskRef) -> tuple[Ticket, Ticket]:
        """Return what lets the one be copied to the other."""
        read, write = (
            rig.job(way, at=at, ref=ref, nonce=f"{way} {ref.locator}").ticket
            for way, at, ref in zip((Way.READ, Way.WRITE), self.ends(), (source, target), strict=True)
        )
        return read, write

    def mover(self, settings: Settings | None = None, dialling: Dialling | None = None) -> SimpleMover:
        """Return one that copies by way of the gateways."""
        return SimpleMover(self.site.hub, self.site.clock, settings, dialling=dialling)

    async def copied(self, mover: SimpleMover, source: DiskRef, target: DiskRef) -> Moved:
        """Copy, and keep the progress."""
        return await mover.move(*self.tickets(source, target), self.seen.append)

    async def until(self, what: Callable[[Progress], bool], within_s: float = 90.0) -> float:
        """Return after how many seconds the copy under way has told such progress, from now on."""
        began, first = time.monotonic(), len(self.seen)
        async with asyncio.timeout(within_s):
            while not any(what(one) for one in self.seen[first:]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return time.monotonic() - began
