"""Security groups, anti-spoofing, quarantine and isolation, with real packets between real namespaces."""

import asyncio
import contextlib

import pytest
from tests.lab.network.world import (
    BACK,
    FAR,
    FRONT,
    LAB,
    MOVED,
    OPEN,
    PATIENCE_S,
    WEB,
    World,
    kernel,
    said,
    serve,
    spoken,
    tcp_socket,
    world,
)

from crossport import errors
from crossport.model.artifact import Way
from crossport.model.construct import Direction, Rule, SecurityGroup

__all__ = ["world"]

pytestmark = pytest.mark.root

NEAR_ONLY = SecurityGroup(
    name="near", rules=(Rule(protocol="tcp", first_port=22, last_port=22, cidr="10.20.0.0/24"),)
)
DATABASE_ONLY = SecurityGroup(
    name="client",
    rules=(
        Rule(
            direction=Direction.EGRESS, protocol="tcp", first_port=5432, last_port=5432, cidr="10.21.0.0/24"
        ),
    ),
)


async def test_a_guest_is_reached_only_by_what_its_groups_admit(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, WEB, NEAR_ONLY) as web,
        world.guest(world.alpha, FRONT, 6, WEB) as near,
    ):
        await web.serve(22, 80, 81)
        outside = [said(world.wan, web.address, port) for port in (22, 80, 81)]
        inside = [said(near.namespace, web.address, port) for port in (22, 80, 81)]
        assert await asyncio.gather(*outside) == ["", "hello", ""]
        assert await asyncio.gather(*inside) == ["hello", "hello", ""]


async def test_egress_rules_bound_what_a_guest_dials(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, DATABASE_ONLY) as client,
        world.guest(world.alpha, BACK, 5, OPEN) as database,
        world.guest(world.alpha, FRONT, 6, OPEN) as other,
        world.guest(world.alpha, FRONT, 7) as without_group,
    ):
        await database.serve(5432, 80)
        await other.serve(5432)
        answers = await asyncio.gather(
            said(client.namespace, database.address, 5432),
            said(client.namespace, database.address, 80),
            said(client.namespace, other.address, 5432),
            said(without_group.namespace, database.address, 5432),
        )
        assert answers == ["hello", "", "", ""]


async def test_guests_of_two_clouds_meet_over_the_wan_as_the_receiver_admits(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, WEB) as here,
        world.guest(world.beta, FAR, 5, WEB) as there,
    ):
        await there.serve(80, 81)
        answers = await asyncio.gather(
            said(here.namespace, there.address, 80), said(here.namespace, there.address, 81)
        )
        assert answers == ["hello", ""]


async def test_changed_rules_hold_from_the_answer_on(world: World) -> None:
    async with world.guest(world.alpha, FRONT, 5) as web:
        await web.serve(80)
        assert await said(world.wan, web.address, 80) == ""
        await web.change(rules=WEB.rules)
        assert await said(world.wan, web.address, 80) == "hello"
        await web.change(rules=())
        assert await said(world.wan, web.address, 80) == ""


async def test_in_quarantine_only_the_prober_reaches_the_guest_and_it_reaches_nobody(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN, quarantine=True) as copy,
        world.guest(world.alpha, FRONT, 6, OPEN) as near,
        world.guest(world.beta, FAR, 6, OPEN) as far,
    ):
        for guest in (copy, near, far):
            await guest.serve(80)
        with await world.alpha.connect(copy.port, 80, 5) as dialled:
            assert await spoken(dialled) == "hello"
        assert await world.alpha.door(copy.port, 80) is None
        answers = await asyncio.gather(
            said(world.wan, copy.address, 80),
            said(near.namespace, copy.address, 80),
            said(far.namespace, copy.address, 80),
            said(copy.namespace, near.address, 80),
            said(copy.namespace, far.address, 80),
        )
        assert answers == [""] * 5

        await copy.change(quarantine=False)
        door = await world.alpha.door(copy.port, 80)
        assert door is not None
        assert await said(door.namespace, door.host, door.port) == "hello"
        assert await said(copy.namespace, far.address, 80) == "hello"


async def test_quarantine_cuts_connections_that_are_open(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN) as web,
        world.guest(world.alpha, FRONT, 6, OPEN) as near,
    ):
        await web.serve(80)
        with await tcp_socket(near.namespace) as client:
            await asyncio.get_running_loop().sock_connect(client, (web.address, 80))
            await web.change(quarantine=True)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(spoken(client), PATIENCE_S)


async def test_a_guest_speaks_only_with_its_own_addresses(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN) as liar,
        world.guest(world.alpha, FRONT, 6, OPEN) as near,
    ):
        await near.serve(80)
        assert await said(liar.namespace, near.address, 80) == "hello"
        await kernel.batch("ip", ["addr add 10.20.0.99/24 dev eth0"], namespace=liar.namespace)
        assert await said(liar.namespace, near.address, 80, source="10.20.0.99") == ""
        await kernel.batch(
            "ip",
            ["link set eth0 down", "link set eth0 address 52:54:00:00:ff:ff", "link set eth0 up"],
            namespace=liar.namespace,
        )
        assert await said(liar.namespace, near.address, 80) == ""


async def test_a_guest_cannot_draw_anothers_packets_to_itself(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN) as thief,
        world.guest(world.alpha, FRONT, 6, OPEN) as owner,
    ):
        await kernel.batch(
            "ip", [f"addr add {owner.address}/24 dev eth0", "link set eth0 down"], namespace=thief.namespace
        )
        # Linux announces its addresses when the link comes up.
        await kernel.batch(
            "ip",
            ["link set eth0 up", f"route add default via {FRONT.gateway}"],
            namespace=thief.namespace,
        )
        await kernel.set_switches({thief.namespace: {"net/ipv4/conf/eth0/arp_notify": "1"}})
        await thief.serve(80, text="thief")
        await owner.serve(80, text="owner")
        assert await said(world.wan, owner.address, 80) == "owner"


async def test_an_isolated_network_is_apart_even_with_the_same_addresses(world: World) -> None:
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN) as real,
        world.guest(world.alpha, LAB, 5, OPEN) as copy,
        world.guest(world.alpha, LAB, 6, OPEN) as beside,
        world.guest(world.alpha, FRONT, 7, OPEN) as other,
    ):
        await real.serve(80, text="real")
        await copy.serve(80, text="copy")
        await other.serve(80, text="other")
        with await world.alpha.connect(copy.port, 80, 5) as dialled:
            assert await spoken(dialled) == "copy"
        assert await world.alpha.door(copy.port, 80) is None
        answers = await asyncio.gather(
            said(world.wan, real.address, 80),
            said(beside.namespace, copy.address, 80),
            said(beside.namespace, other.address, 80),
        )
        assert answers == ["real", "copy", ""]


async def test_an_address_leads_to_the_cloud_that_opened_it_last(world: World) -> None:
    async with (
        world.guest(world.alpha, MOVED, 5, OPEN) as source,
        world.guest(world.beta, MOVED, 5, OPEN, quarantine=True) as target,
    ):
        await source.serve(80, text="source")
        await target.serve(80, text="target")
        assert await said(world.wan, source.address, 80) == "source"
        await target.change(quarantine=False)
        assert await said(world.wan, source.address, 80) == "target"
        await world.alpha.detach(source.port.vm_id, 0)
        assert await said(world.wan, source.address, 80) == "target"


async def test_two_nics_cannot_have_one_address_or_one_mac(world: World) -> None:
    async with world.guest(world.alpha, FRONT, 5, OPEN) as first:
        with pytest.raises(errors.Conflict) as caught:
            async with world.guest(world.alpha, FRONT, 5, OPEN):
                pass
        assert caught.value.code == "cloud.address.taken"
        assert first.address in caught.value.text


async def test_only_gateways_reach_gateways(world: World) -> None:
    seats = {
        (fabric_name, way): await world.seat(fabric, way)
        for fabric_name, fabric in (("alpha", world.alpha), ("beta", world.beta))
        for way in Way
    }
    async with (
        world.guest(world.alpha, FRONT, 5, OPEN) as near,
        world.guest(world.beta, FAR, 5, OPEN) as far,
    ):
        await near.serve(80)
        namespace, address = seats["beta", Way.WRITE]
        reader, _ = seats["alpha", Way.READ]
        async with contextlib.AsyncExitStack() as ending:
            gateway = await serve(namespace, address, 7000, "gateway")
            ending.push_async_callback(gateway.close)
            answers = await asyncio.gather(
                said(reader, address, 7000),
                said(seats["beta", Way.READ][0], address, 7000),
                said(near.namespace, address, 7000),
                said(far.namespace, address, 7000),
                said(world.wan, address, 7000),
                said(reader, near.address, 80),
                said(namespace, near.address, 80),
            )
    assert answers == ["gateway", "gateway", "", "", "", "", ""]
