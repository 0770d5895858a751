"""A real guest goes warm from the embedded cloud of one owner to that of another, between two servers.

Each owner has a gateway as a process in its own cloud's subnet; what is copied goes from one to the other.
Meanwhile somebody stores things on the guest, and somebody else, between the clouds, sees how long it is
away. Nothing is replaced: two state directories, two authorities, the real link, real guests.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gateway.test_real_gateways import Gateway, sent_from
from tests.lab.local import clouds
from tests.lab.serve.two_sites import Owner, trusted

from crossport import errors
from crossport.cli.demo.visitor import Sightings, Visitor, Watcher
from crossport.clouds.local import LocalCloud, destroy
from crossport.model.artifact import Way
from crossport.model.construct import Network
from crossport.model.vm import VM, PowerState
from crossport.testing.guest.client import GuestState
from crossport.units import MIB

pytestmark = [pytest.mark.qemu, pytest.mark.root, pytest.mark.timeout(900)]

LOG = logging.getLogger(__name__)
LONG_S = 300.0
NAMES = 12
NOISE = 6 * MIB
"""What neither the target's published images have nor a compressor makes smaller."""
PIECE = "x" * (64 << 10)
PAUSE_S = 0.2
"""Between two stores: the guest has one slow processor, and others ask it too."""
SEATS = (
    ("north", "alpha", Way.READ, "VMExportSubnet"),
    ("south", "beta", Way.WRITE, "VMImportSubnet"),
)
SUBNETS = {"alpha": "10.20.0", "beta": "10.30.0"}
"""Different ones, so that somebody outside can tell who answers."""
MOVE = (
    *("migrate", "web", "--from", "alpha", "--to", "beta@south", "--mode", "warm"),
    # A busy machine may let the baseline wait longer than ten seconds.
    *("--max-outage", "300", "--check", "http:80:/", "--accept", "check.baseline", "--detach"),
)


class Owners:
    """North has alpha with the guest ``web``, south has beta; each has a gateway in its subnet."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.owners = {name: Owner(home, name, "") for name, *_ in SEATS}
        self.gateways: dict[str, Gateway] = {}

    async def make(self) -> None:
        image = clouds.guest_image(self.home)
        for name, cloud, *_ in SEATS:
            network = Network(name="private", cidr=f"{SUBNETS[cloud]}.0/24", gateway=f"{SUBNETS[cloud]}.1")
            await clouds.prepared(self.home / cloud, image, networks=(network,))
            owner = self.owners[name]
            owner.serve()
            owner.run("cloud", "add", cloud, "local", "--set", f"path={self.home / cloud}")
        trusted(self.home, self.owners["north"], self.owners["south"])
        for seat in SEATS:
            await self._join(*seat)
        async with self.cloud("alpha") as alpha:
            vm = await alpha.create_vm(clouds.act("create"), clouds.described("web"), clouds.IMAGE)
            await clouds.answering(alpha, vm.id)

    async def _join(self, name: str, cloud: str, way: Way, subnet: str) -> None:
        """Enroll a gateway at its owner, and run it where it belongs."""
        async with self.cloud(cloud) as connected:
            seat = await connected.place(way)
        file = self.home / f"{cloud}.join"
        owner = self.owners[name]
        told = owner.answered("gateway", "enroll", cloud, subnet, "--file", str(file))
        words = ("--join", str(file), "--authority", told["command"].split()[-1])
        self.gateways[cloud] = Gateway.start(self.home / f"gateway-{cloud}", seat.namespace, *words)
        owner.machine.wait(lambda: any(one["connected"] for one in owner.answered("gateway", "list")), 90)

    @contextlib.asynccontextmanager
    async def cloud(self, name: str) -> AsyncGenerator[LocalCloud]:
        cloud = await clouds.connected(self.home / name)
        try:
            yield cloud
        finally:
            await cloud.close()

    def end(self) -> None:
        for gateway in self.gateways.values():
            gateway.process.kill()
            gateway.process.wait(10)
        for owner in self.owners.values():
            owner.machine.end()
        for _, cloud, *_ in SEATS:
            asyncio.run(destroy(self.home / cloud))


@pytest.fixture
def owners(tmp_path: Path) -> Iterator[Owners]:
    made = Owners(tmp_path)
    try:
        asyncio.run(made.make())
        yield made
    finally:
        made.end()


@dataclass
class Stored:
    """What the guest has promised to be durable, by name; the last was perhaps not promised any more."""

    durable: dict[str, str] = field(default_factory=dict[str, str])
    in_flight: tuple[str, str] = ("", "")

    async def go_on(self, visitor: Visitor, url: str) -> None:
        """Store under a few names, again and again, until the guest does not answer."""
        with contextlib.suppress(errors.Unavailable, errors.Broken):
            for number in itertools.count():
                name, text = f"w-{number % NAMES}", f"{number} {PIECE}"
                self.in_flight = (name, hashlib.sha256(text.encode()).hexdigest())
                self.durable[name] = await visitor.store(url, name, text)
                await asyncio.sleep(PAUSE_S)

    def check(self, data: dict[str, str]) -> None:
        for name, digest in self.durable.items():
            allowed = {digest, self.in_flight[1]} if name == self.in_flight[0] else {digest}
            assert data[name] in allowed, name


async def url_of(cloud: LocalCloud, vm: VM) -> tuple[str, str]:
    """Return where a VM is asked, and from which network namespace; wait until it may be."""
    while True:
        door = await cloud.door(vm.id, 80)
        if door is not None:
            return f"http://{door.host}:{door.port}", door.namespace
        await asyncio.sleep(0.1)


async def arrived(cloud: LocalCloud) -> VM:
    """Return the VM as soon as there is one."""
    while not (vms := await cloud.vms()):  # noqa: ASYNC110 - a cloud tells nobody
        await asyncio.sleep(0.1)
    return vms[0]


async def moved(owners: Owners, stored: Stored) -> tuple[dict[str, Any], tuple[Sightings, Sightings]]:
    """Move the guest while it is written to; return the report, and who was seen when."""
    north = owners.owners["north"]
    async with owners.cloud("alpha") as alpha, owners.cloud("beta") as beta:
        url, outside = await url_of(alpha, (await alpha.vms())[0])
        async with (
            Visitor.sent(outside) as visitor,
            Watcher.posted(outside) as before,
            Watcher.posted(outside) as after,
        ):
            left = await visitor.answering(url, 60)
            stored.durable["noise"] = await visitor.fill(url, "noise", NOISE // MIB)
            storing = asyncio.create_task(stored.go_on(visitor, url))
            await before.watch(url)
            run = (await asyncio.to_thread(north.answered, *MOVE))["id"]
            async with asyncio.timeout(LONG_S):
                there, _ = await url_of(beta, await arrived(beta))
                await after.watch(there)
                await asyncio.to_thread(north.machine.wait, lambda: ended(north, run), LONG_S)
            await storing
            seen = await before.relieved(), await after.relieved()
            came = await visitor.answering(there, 60)
            check_same(left, came)
            stored.check(came.data)
    return north.answered("run", "report", run), seen


def check_same(left: GuestState, came: GuestState) -> None:
    """Check that who answers is the machine that was moved, started once more: not the old one."""
    assert (came.boots, came.boot_id == left.boot_id) == (left.boots + 1, False)
    assert (came.host_key, came.instance_id) == (left.host_key, left.instance_id)


def ended(owner: Owner, run: str) -> bool:
    [state] = [one["state"] for one in owner.answered("run", "list") if one["id"] == run]
    return state not in {"queued", "running"}


async def both(owners: Owners) -> tuple[VM, VM]:
    async with owners.cloud("alpha") as alpha, owners.cloud("beta") as beta:
        [source], [copy] = await alpha.vms(), await beta.vms()
        return source, copy


def test_a_guest_that_is_written_to_goes_warm_from_gateway_to_gateway_to_another_owner(
    owners: Owners,
) -> None:
    stored, export = Stored(), owners.gateways["alpha"]
    passed = sent_from(export)
    report, (before, after) = asyncio.run(moved(owners, stored))
    assert (report["outcome"], report["verified"]) == ("done", "at rest"), report
    what = [sync["what"] for sync in report["syncs"]]
    assert (what[:2], what[-2:]) == (["first", "delta"], ["last", "comparison"])
    first, *_, comparison = report["syncs"]
    assert comparison["sent"] < first["sent"] / 2 < comparison["read"]
    # All that was copied went from the gateway of the one owner to that of the other.
    sent = sum(sync["sent"] for sync in report["syncs"])
    assert sent > NOISE
    assert sent_from(export) - passed > sent
    assert len(stored.durable) > 4
    outage_s = after.first - before.last
    assert 0 < outage_s < report["outage_s"] + 30
    LOG.info("outage seen %.1f s, told %.1f s", outage_s, report["outage_s"])
    source, copy = asyncio.run(both(owners))
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
