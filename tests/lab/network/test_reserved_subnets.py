"""The subnets of gateways are reached by gateways alone: probed from every other network there is.

Something answers at the gateways of two clouds, at a worker's port and at one of the system's, by TCP, UDP
and ICMP. Who tries: guests of every network, sealed and isolated ones, one that pretends to be a gateway, the
routers, the link between the clouds, a cloud whose operator took the rules away, another home's clouds, this
machine itself, and gateways that have nothing to say to one another.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from tests.lab.network.probe import WORKER, answering, serving
from tests.lab.network.world import BACK, FAR, FRONT, LAB, OPEN, World, world

from crossport.clouds.local import network
from crossport.clouds.local.fabric import Fabric
from crossport.clouds.local.network import kernel
from crossport.clouds.local.network.layout import Layout
from crossport.model.artifact import Way

__all__ = ["world"]

pytestmark = pytest.mark.root

MACHINE = ""
"""This machine's own network."""


@dataclass
class Seats:
    """The four seats of alpha and beta, as namespace and address."""

    all: dict[tuple[str, Way], tuple[str, str]]

    @property
    def addresses(self) -> list[str]:
        return [address for _, address in self.all.values()]

    def namespace(self, cloud: str, way: Way) -> str:
        return self.all[cloud, way][0]

    def address(self, cloud: str, way: Way) -> str:
        return self.all[cloud, way][1]

    async def reached(self, namespace: str, *, source: str = "") -> set[str]:
        """Return what of them answers somebody in a namespace, but for what that has itself."""
        others = [address for address in self.addresses if address != source]
        return await answering(namespace, others, source=source)


@pytest.fixture
async def seats(world: World) -> AsyncGenerator[Seats]:
    """Let something answer at each seat."""
    named: tuple[tuple[str, Fabric], ...] = (("alpha", world.alpha), ("beta", world.beta))
    found = {(name, way): await world.seat(fabric, way) for name, fabric in named for way in Way}
    async with contextlib.AsyncExitStack() as stack:
        for namespace, address in found.values():
            await stack.enter_async_context(serving(namespace, address))
        yield Seats(found)


async def test_a_gateway_reaches_those_that_do_the_other_half_of_its_work(seats: Seats) -> None:
    for cloud in ("alpha", "beta"):
        for way, other in ((Way.READ, Way.WRITE), (Way.WRITE, Way.READ)):
            namespace, own = seats.all[cloud, way]
            assert await seats.reached(namespace, source=own) == {
                f"tcp {seats.address(name, other)} {WORKER}" for name in ("alpha", "beta")
            }


async def test_no_other_network_reaches_a_gateway(world: World, seats: Seats) -> None:
    async with contextlib.AsyncExitStack() as stack:
        namespaces = {
            "alpha's router": world.router(world.alpha, FRONT),
            "beta's router": world.router(world.beta, FAR),
            "an isolated network's router": world.router(world.alpha, LAB),
            "the link between the clouds": world.wan,
            "this machine": MACHINE,
        }
        plugged = (
            ("a guest of alpha", world.alpha, FRONT, False),
            ("a guest of another network of alpha", world.alpha, BACK, False),
            ("a guest in quarantine", world.alpha, FRONT, True),
            ("a guest of an isolated network", world.alpha, LAB, False),
            ("a guest of beta", world.beta, FAR, False),
        )
        for number, (name, fabric, of, quarantine) in enumerate(plugged, 20):
            guest = world.guest(fabric, of, number, OPEN, quarantine=quarantine)
            namespaces[name] = (await stack.enter_async_context(guest)).namespace
        found = await asyncio.gather(*(seats.reached(one) for one in namespaces.values()))
    assert {name: one for name, one in zip(namespaces, found, strict=True) if one} == {}


async def test_a_guest_that_pretends_to_be_a_gateway_reaches_none(world: World, seats: Seats) -> None:
    stolen = seats.address("alpha", Way.READ)
    async with world.guest(world.alpha, FRONT, 30, OPEN) as guest:
        await kernel.batch("ip", [f"addr add {stolen}/32 dev lo"], namespace=guest.namespace)
        assert await seats.reached(guest.namespace, source=stolen) == set()


async def test_a_cloud_without_rules_of_its_own_cannot_be_another_s_gateway(
    world: World, seats: Seats
) -> None:
    rogue = network.fabric("enforced", "rogue-id", "rogue", home=world.home)
    router = Layout(world.home, "rogue-id").router
    try:
        await rogue.ensure((FRONT, *network.reserved_networks("rogue-id", home=world.home)))
        await kernel.apply("flush ruleset\n", namespace=router)
        assert await seats.reached(router) == set()
        stolen = seats.address("alpha", Way.READ)
        await kernel.batch("ip", [f"addr add {stolen}/32 dev lo"], namespace=router)
        assert await seats.reached(router, source=stolen) == set()
    finally:
        await rogue.destroy()


async def test_the_clouds_of_another_home_are_in_another_world(
    seats: Seats, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = World(str(tmp_path_factory.mktemp("other-home")))
    try:
        await other.make()
        namespaces = [other.wan, *[(await other.seat(other.alpha, way))[0] for way in Way]]
        found = await asyncio.gather(*(seats.reached(one) for one in namespaces))
        assert found == [set()] * len(namespaces)
    finally:
        await network.remove_leftovers(other.home)


async def test_a_gateway_reaches_nothing_but_gateways(world: World, seats: Seats) -> None:
    layout = Layout(world.home, "alpha-id")
    router, link = str(layout.seat(Way.READ).router), [str(one) for one in layout.link_addresses.hosts()]
    async with (
        world.guest(world.alpha, FRONT, 40, OPEN) as near,
        world.guest(world.beta, FAR, 40, OPEN) as far,
        serving(near.namespace, near.address),
        serving(far.namespace, far.address),
        serving(world.router(world.alpha, FRONT), "0.0.0.0"),  # noqa: S104
        serving(world.wan, "0.0.0.0"),  # noqa: S104
    ):
        beside = [near.address, far.address, FRONT.gateway, router, *link]
        namespaces = [namespace for namespace, _ in seats.all.values()]
        found = await asyncio.gather(*(answering(one, beside) for one in namespaces))
    assert found == [set()] * len(namespaces)
