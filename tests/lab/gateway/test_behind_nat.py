"""Gateways that nobody can dial: the other end lets them dial, whichever of the two sends.

Two gateways run as processes in network namespaces joined by a link, and nftables drops what comes in anew.
"""

import os
import subprocess
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.lab.gateway.gateway_process import GatewayProcess
from tests.unit.gateway import rig
from tests.unit.gateway.rig import EXPORT, IMPORT, Site, place

from crossport import errors
from crossport.model.artifact import DiskRef, Moved, Place, Rate, Way
from crossport.testing.conformance.block import noise
from crossport.transfer.dialling import Dialling
from crossport.transfer.pair import Settings
from crossport.transfer.rate_probe import ProbeBounds, WorkerRateProbe
from crossport.transfer.simple import SimpleMover
from crossport.units import MIB

pytestmark = pytest.mark.root

CLOSED = """
table inet nat {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
CONNECT_S = 2.0
CONTENT = noise(3 * MIB) + bytes(MIB)


def _run(*argv: str, told: str = "") -> None:
    subprocess.run(argv, check=True, input=told, text=True)


@dataclass
class Nat:
    """Two gateways, each in a namespace of its own."""

    site: Site
    names: tuple[str, str]
    home: Path
    gateways: list[GatewayProcess]

    def close(self, end: int) -> None:
        """Let nobody dial the gateway of this end from now on."""
        _run("ip", "netns", "exec", self.names[end], "nft", "-f", "-", told=CLOSED)

    def ends(self) -> tuple[Place, Place]:
        source, target = (
            replace(place(subnet), address=f"10.98.9.{number}")
            for number, subnet in enumerate((EXPORT, IMPORT), 1)
        )
        return source, target

    async def measured(self, dialling: Dialling) -> Rate:
        bounds = ProbeBounds(size=MIB, limit_s=30.0, connect_s=CONNECT_S)
        return await WorkerRateProbe(self.site.hub, self.site.clock, bounds, dialling).measure(*self.ends())

    async def copied(self, dialling: Dialling) -> Moved:
        mover = SimpleMover(self.site.hub, self.site.clock, Settings(connect_s=CONNECT_S), dialling=dialling)
        source, target = self.home / "source", self.home / "target"
        source.write_bytes(CONTENT)
        target.write_bytes(bytes(len(CONTENT)))
        refs = [DiskRef(kind="file", locator=str(path), size=len(CONTENT)) for path in (source, target)]
        read, write = (
            rig.job(way, at=at, ref=ref, nonce=way.value).ticket
            for way, at, ref in zip((Way.READ, Way.WRITE), self.ends(), refs, strict=True)
        )
        moved = await mover.move(read, write, lambda progress: None)
        assert target.read_bytes() == CONTENT
        return moved


@pytest.fixture
def namespaces() -> Generator[tuple[str, str]]:
    names = f"xpn{os.getpid()}a", f"xpn{os.getpid()}b"
    for name in names:
        _run("ip", "netns", "add", name)
    _run(
        *("ip", "link", "add", "wan", "netns", names[0], "type", "veth"),
        *("peer", "name", "wan", "netns", names[1]),
    )
    for number, name in enumerate(names, 1):
        _run("ip", "-n", name, "address", "add", f"10.98.9.{number}/24", "dev", "wan")
        _run("ip", "-n", name, "link", "set", "wan", "up")
    yield names
    for name in names:
        _run("ip", "netns", "delete", name)


@pytest.fixture
async def nat(namespaces: tuple[str, str], tmp_path: Path) -> AsyncGenerator[Nat]:
    site = await rig.opened(tmp_path)
    one = Nat(site, namespaces, tmp_path, [])
    for subnet, name in zip((EXPORT, IMPORT), namespaces, strict=True):
        within = ("ip", "netns", "exec", name)
        one.gateways.append(await GatewayProcess.joined(site, tmp_path / subnet, subnet, within))
    yield one
    for gateway in one.gateways:
        gateway.kill()
    await site.close()


@pytest.mark.parametrize("closed", [0, 1], ids=["source", "target"])
async def test_a_gateway_that_cannot_be_dialled_dials(nat: Nat, closed: int) -> None:
    nat.close(closed)
    dialling = Dialling()
    assert (await nat.measured(dialling)).size > 0
    moved = await nat.copied(dialling)
    assert moved.counters.read >= 3 * MIB


async def test_where_neither_can_be_dialled_that_is_said_of_both(nat: Nat) -> None:
    nat.close(0)
    nat.close(1)
    for way in (nat.measured, nat.copied):
        with pytest.raises(errors.Unavailable) as caught:
            await way(Dialling())
        assert caught.value.code == "transfer.peer.unreachable"
        assert "10.98.9.1" in caught.value.text
        assert "10.98.9.2" in caught.value.text
