"""Gateways of a site of two nodes on one PostgreSQL: each node has them at hand, also when the other dies.

Servers, gateways and commands are the program itself; the clouds are simulated ones with disks in files.
"""

import asyncio
import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gateway.gateway_process import GatewayProcess
from tests.lab.transfer.transfer_lab import workers_of
from tests.stories.test_nodes import Node, nodes

from crossport.clouds.memory import MemoryCloud
from crossport.model.run import Act
from crossport.testing.conformance.block import noise
from crossport.testing.world import ALPHA, BETA, web_vm
from crossport.units import MIB

__all__ = ["nodes"]

pytestmark = [pytest.mark.postgresql, pytest.mark.root]
SIZE = 16 * MIB
SEATS = (("alpha", "VMExportSubnet"), ("beta", "VMImportSubnet"))
LONG_S = 150.0
MOVE = ("migrate", "--from", "alpha", "--to", "beta")


@dataclass
class Field:
    """Two clouds with a VM in the first, and two nodes."""

    home: Path
    first: Node
    second: Node
    gateways: dict[str, GatewayProcess] = field(default_factory=dict[str, GatewayProcess])

    def prepare(self) -> None:
        clouds = {name: MemoryCloud(name, self.home / name) for name in ("alpha", "beta")}
        clouds["alpha"].found(ALPHA)
        clouds["beta"].found(BETA)
        self.first.serve()
        self.second.join(self.first)
        for name in clouds:
            self.first.answered("cloud", "add", name, "memory", "--set", f"path={self.home / name}")

    async def vm(self, name: str) -> bytes:
        """Make a VM at alpha; return what is on its disk."""
        cloud = MemoryCloud("alpha", self.home / "alpha")
        wanted = web_vm()
        disk = dataclasses.replace(wanted.disks[0], size=SIZE)
        nic = dataclasses.replace(wanted.nics[0], mac=f"52:54:00:00:01:{len(name):02x}", addresses=())
        wanted = dataclasses.replace(wanted, name=name, disks=(disk,), nics=(nic,))
        vm = await cloud.create_vm(Act(run=name, step="create", epoch=1), wanted, "boot and data")
        content = noise(SIZE, name)
        cloud.disk_path(vm.disks[0].id).write_bytes(content)
        return content

    def enroll(self, node: Node, cloud: str, subnet: str) -> None:
        """Let a gateway join by way of one node."""
        (home := self.home / f"gateway-{cloud}").mkdir(mode=0o700)
        file = home / "join"
        told = node.answered("gateway", "enroll", cloud, subnet, "--file", str(file))
        words = ("--join", str(file), "--authority", told["command"].split()[-1])
        self.gateways[cloud] = GatewayProcess.started(home, told["gateway"], words=words)

    def connected(self, node: Node) -> list[bool]:
        return [one["connected"] for one in node.answered("gateway", "list")]

    def arrived(self) -> int:
        """Return how many bytes lie on disks at beta."""
        return sum(path.stat().st_blocks * 512 for path in (self.home / "beta/disks").glob("*"))

    def migrate(self, node: Node, vm: str) -> str:
        return str(node.answered(*MOVE, vm, "--detach")["id"])

    def ended(self, node: Node, run: str) -> dict[str, Any]:
        """Return how a run ended that ``node`` was asked about."""
        node.wait(lambda: self.run(node, run)["state"] not in {"queued", "running"}, LONG_S)
        return node.answered("run", "report", run)

    def run(self, node: Node, run: str) -> dict[str, Any]:
        [found] = [one for one in node.answered("run", "list") if one["id"] == run]
        return found

    def content(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.home / "beta/disks").glob("*")]


@pytest.fixture
def place(nodes: tuple[Node, Node], tmp_path: Path) -> Iterator[Field]:
    one = Field(tmp_path, *nodes)
    one.prepare()
    yield one
    for gateway in one.gateways.values():
        gateway.kill()


def test_each_node_has_the_gateways_and_one_goes_on_with_the_copy_of_the_other(place: Field) -> None:
    first, second = place.first, place.second
    small, large = (asyncio.run(place.vm(name)) for name in ("small", "larger"))
    for cloud, subnet in SEATS:
        place.enroll(first, cloud, subnet)
    for node in (first, second):
        node.wait(lambda node=node: place.connected(node) == [True, True], LONG_S)

    # Enrolled at the first node, at work for the second.
    assert place.ended(second, place.migrate(second, "small"))["outcome"] == "done"
    assert small in place.content()

    first.answered("limit", "set", "alpha", "beta", "12M")
    before = place.arrived()
    run = place.migrate(first, "larger")
    first.wait(lambda: place.arrived() - before > 4 * MIB, LONG_S)
    assert [len(workers_of(one.process.pid)) for one in place.gateways.values()] == [1, 1]
    server = first.started[0]
    assert workers_of(server.pid) == []
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    second.answered("limit", "remove", "alpha", "beta")
    report = place.ended(second, run)
    assert (report["outcome"], report["verified"]) == ("done", "at rest")
    assert place.run(second, run)["node"] == "second"
    assert large in place.content()
    # What had arrived was not sent again.
    [moved] = report["moved"]
    assert moved["counters"]["sent"] < SIZE - 2 * MIB
    assert place.connected(second) == [True, True]

    # What drains is found before anything is touched, at the node that is left.
    second.answered("gateway", "drain", place.gateways["beta"].id, "--wait")
    status, told, _ = second.run(*MOVE, "small", "--name", "again", "--dry-run", "--json")
    assert status == 3
    assert "gateway.draining" in {one["code"] for one in json.loads(told)["findings"]}
