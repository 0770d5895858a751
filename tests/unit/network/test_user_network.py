"""User-mode networks: which loopback ports lead to a guest, and that they stay the same."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from crossport import errors
from crossport.clouds.local import network
from crossport.clouds.local.fabric import Fabric, Forward, Port
from crossport.model.artifact import Way
from crossport.model.construct import EXPORT_SUBNET, Direction, Network, Rule, SecurityGroup

FRONT = Network(name="front", cidr="10.20.0.0/24", gateway="10.20.0.1")
RULES = network.rules_of(
    [
        SecurityGroup(
            name="web",
            rules=(
                Rule(protocol="tcp", first_port=80, last_port=81),
                Rule(protocol="tcp", first_port=22, last_port=22, cidr="10.20.0.0/24"),
                Rule(protocol="udp", first_port=53, last_port=53),
                Rule(protocol="tcp", first_port=1000, last_port=2000),
                Rule(direction=Direction.EGRESS, protocol="tcp", first_port=25, last_port=25),
            ),
        )
    ]
)
OPEN = Port(
    vm_id="vm-1",
    index=0,
    mac="52:54:00:00:00:01",
    network=FRONT,
    addresses=("10.20.0.5/24",),
    rules=RULES,
    quarantine=False,
    probed=(80, 9000),
)


@pytest.fixture
def cloud() -> Fabric:
    return network.fabric("user", "alpha-id", "alpha", home="home of alpha")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def ports(forwards: tuple[Forward, ...], *, public: bool) -> list[int]:
    return [forward.guest_port for forward in forwards if forward.public is public]


async def test_an_open_port_has_forwards_for_what_everybody_may_dial_and_for_the_prober(
    cloud: Fabric,
) -> None:
    backend = await cloud.attach(OPEN)
    assert ports(backend.forwards, public=True) == [80, 81]
    assert ports(backend.forwards, public=False) == [80, 9000]
    assert len({forward.host_port for forward in backend.forwards}) == 4
    assert backend.needs_network


async def test_in_quarantine_the_probers_forwards_alone_remain(cloud: Fabric) -> None:
    before = (await cloud.attach(OPEN)).forwards
    closed = await cloud.update(replace(OPEN, quarantine=True, forwards=before))
    assert ports(closed, public=True) == []
    assert closed == tuple(forward for forward in before if not forward.public)
    assert await cloud.door(replace(OPEN, quarantine=True, forwards=before), 80) is None


async def test_a_guest_can_open_no_connection(cloud: Fabric) -> None:
    for port in (OPEN, replace(OPEN, quarantine=True)):
        assert (await cloud.attach(port)).netdev["restrict"] is True


async def test_forwards_that_were_told_stay_although_they_are_in_use(
    cloud: Fabric, listening: socket.socket
) -> None:
    told = (await cloud.attach(OPEN)).forwards
    listening.bind(("127.0.0.1", told[0].host_port))
    listening.listen()
    assert await cloud.update(replace(OPEN, forwards=told)) == told


async def test_a_port_that_somebody_listens_on_is_not_chosen(cloud: Fabric, listening: socket.socket) -> None:
    told = (await cloud.attach(OPEN)).forwards
    listening.bind(("127.0.0.1", told[0].host_port))
    listening.listen()
    anew = (await cloud.attach(OPEN)).forwards
    assert anew[0].host_port != told[0].host_port
    assert anew[1:] == told[1:]


async def test_connect_and_door_lead_to_the_forwards(cloud: Fabric, listening: socket.socket) -> None:
    port = replace(OPEN, forwards=(await cloud.attach(OPEN)).forwards)
    private = next(f.host_port for f in port.forwards if f.guest_port == 9000)
    listening.bind(("127.0.0.1", private))
    listening.listen()
    with await cloud.connect(port, 9000, 5) as dialled:
        assert dialled.getpeername() == ("127.0.0.1", private)
    with pytest.raises(ConnectionRefusedError):
        await cloud.connect(port, 22, 5)
    door = await cloud.door(port, 81)
    assert door is not None
    assert (door.host, door.namespace) == ("127.0.0.1", "")
    assert await cloud.door(port, 9000) is None


async def test_a_nic_without_address_has_no_forwards(cloud: Fabric) -> None:
    assert (await cloud.attach(replace(OPEN, addresses=()))).forwards == ()


@pytest.mark.parametrize(
    "address", ["10.20.0.1/24", "10.20.1.5/24", "10.20.0.255/24", "fd00::5/64", "10.20.0.5; flush"]
)
@pytest.mark.parametrize("kind", ["user", "enforced"])
async def test_an_address_that_the_network_does_not_have_is_refused(kind: network.Kind, address: str) -> None:
    made = network.fabric(kind, "alpha-id", "alpha", home="home of alpha")
    with pytest.raises(errors.Invalid) as caught:
        await made.attach(replace(OPEN, addresses=(address,)))
    assert caught.value.code == "cloud.address.unusable"


@pytest.mark.parametrize(
    ("cidr", "gateway"),
    [
        ("10.20.0.0/31", ""),
        ("fd00::/64", ""),
        ("10.20.0.5/24", ""),
        ("100.70.0.0/16", ""),
        ("10.20.0.0/24", "10.9.0.1"),
    ],
    ids=["small", "ipv6", "host-bits", "between-clouds", "gateway"],
)
@pytest.mark.parametrize("kind", ["user", "enforced"])
async def test_a_network_that_cannot_be_made_is_refused_before_anything_is_made(
    kind: network.Kind, cidr: str, gateway: str
) -> None:
    made = network.fabric(kind, "alpha-id", "alpha", home="home of alpha")
    with pytest.raises(errors.Invalid) as caught:
        await made.ensure((FRONT, Network(name="odd", cidr=cidr, gateway=gateway)))
    assert caught.value.code == "cloud.network.unusable"
    assert network.leftovers("home of alpha") == ()


async def test_overlapping_networks_are_refused_unless_one_is_isolated() -> None:
    made = network.fabric("enforced", "alpha-id", "alpha", home="home of alpha")
    with pytest.raises(errors.Invalid) as caught:
        await made.ensure((FRONT, Network(name="wide", cidr="10.0.0.0/8")))
    assert (caught.value.code, caught.value.field) == ("cloud.network.overlap", "networks.wide.cidr")


async def test_the_seats_of_two_clouds_have_different_addresses_outside_every_network() -> None:
    seats = [network.reserved_networks(name, home="/h") for name in ("alpha-id", "beta-id")]
    assert len({one.cidr for pair in seats for one in pair}) == 4
    assert all(one.reserved and one.cidr.startswith("100.") for pair in seats for one in pair)
    enforced = network.fabric("enforced", "alpha-id", "alpha", home="/h")
    place = await enforced.place(Way.READ)
    assert (place.cloud, place.subnet) == ("alpha", EXPORT_SUBNET)
    assert place.namespace.endswith("-export")
