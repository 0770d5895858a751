"""The networks of a cloud as this machine's kernel enforces them: namespaces, bridges, nftables. Needs root.

A cloud has a router namespace with a bridge per network, a namespace of its own for each isolated network
(which nothing joins to anything), and one per gateway's seat. QEMU runs in none of them: it gets the open
tap. The design note is docs/design/0004-embedded-networks.md.

Every call takes the cloud's lock, looks at what is there and makes what is missing: so it completes what a
killed one began, and two at once come one after the other.
"""

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Iterable, Mapping, Set

from crossport import errors
from crossport.clouds.local.fabric import Door, Forward, NicBackend, Port
from crossport.clouds.local.network import kernel, ruleset, wan
from crossport.clouds.local.network.device import devices, guarded
from crossport.clouds.local.network.layout import Layout, Seat, bridge_name, router_address, subnet, tap_name
from crossport.clouds.local.network.plug import Segment, guard_of, make_segments, plug, unplug
from crossport.clouds.local.network.seat import make_seat, remove_seat
from crossport.model.artifact import Place, Way
from crossport.model.construct import Network

__all__ = ["NamespaceNet"]


class NamespaceNet:
    """The enforced networks of the cloud ``name``. ``wan_rate_bps`` limits each direction to other clouds."""

    notes: tuple[str, ...] = ()

    def __init__(self, layout: Layout, name: str, *, wan_rate_bps: int = 0) -> None:
        self._layout = layout
        self._name = name
        self._rate_bps = wan_rate_bps

    async def ensure(self, networks: tuple[Network, ...]) -> None:
        """Make what the networks need, as Fabric.ensure says.

        Raise Invalid when networks that are not isolated overlap, or one has addresses that cannot be used.
        """
        _check(networks)
        layout = self._layout
        usual = [network for network in networks if not network.isolated and not network.reserved]
        isolated = {layout.home_of(network): network for network in networks if network.isolated}
        reserved = {network.name for network in networks if network.reserved}
        seats = [seat for seat in map(layout.seat, Way) if seat.network in reserved]
        async with kernel.locked(layout.locks[0]):
            await _make_router(layout.router, usual, seats=seats, outside=wan.DEVICE)
            await wan.join(layout, self._rate_bps)
            for seat in map(layout.seat, Way):
                await (make_seat if seat in seats else remove_seat)(layout, seat)
            for namespace, network in isolated.items():
                await _make_router(namespace, [network])
            for namespace in kernel.namespaces(layout.isolated_prefix):
                if namespace not in isolated:
                    await kernel.remove_namespace(namespace)

    async def attach(self, port: Port) -> NicBackend:
        """Plug the NIC and open its tap. Raise Conflict when another has its MAC or an address of it."""
        guard = guard_of(port)
        namespace = self._layout.home_of(port.network)
        async with kernel.locked(self._layout.locks[0]):
            await self._plug(namespace, port, guard)
        descriptor = await kernel.opened("tap", {"namespace": namespace, "device": guard.tap})
        return NicBackend(netdev={"type": "tap"}, descriptors={"fd": descriptor})

    async def update(self, port: Port) -> tuple[Forward, ...]:
        """Put the port's rules in force. A port that is not plugged stays so."""
        guard = guard_of(port)
        namespace = self._layout.home_of(port.network)
        async with kernel.locked(self._layout.locks[0]):
            if kernel.there(namespace) and guard.tap in await devices(namespace):
                await self._plug(namespace, port, guard)
        return ()

    async def detach(self, vm_id: str, index: int) -> None:
        """Unplug the NIC, wherever it is plugged."""
        async with kernel.locked(self._layout.locks[0]):
            for namespace in self._routers():
                await self._unplug(namespace, tap_name(vm_id, index))

    async def keep(self, plugged: Set[tuple[str, int]]) -> None:
        """Unplug every NIC but these: its tap, or its rules, which come first and go last."""
        kept = {tap_name(vm_id, index) for vm_id, index in plugged}
        async with kernel.locked(self._layout.locks[0]):
            for namespace in self._routers():
                taps = {name for name, one in (await devices(namespace)).items() if one.kind == "tun"}
                for tap in (taps | (await guarded(namespace)).taps) - kept:
                    await self._unplug(namespace, tap)

    async def connect(self, port: Port, guest_port: int, timeout_s: float) -> socket.socket:
        """Dial the guest from the router of its network."""
        addresses = guard_of(port).addresses
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        async with asyncio.timeout(timeout_s):
            namespace = self._layout.home_of(port.network)
            dialled = socket.socket(fileno=await kernel.opened("tcp", {"namespace": namespace}))
            try:
                dialled.setblocking(False)
                await asyncio.get_running_loop().sock_connect(dialled, (str(addresses[0]), guest_port))
            except BaseException:
                dialled.close()
                raise
        return dialled

    async def door(self, port: Port, guest_port: int) -> Door | None:
        """Return the guest's own address, to be dialled from the ``wan``."""
        guard = guard_of(port)
        if guard.sealed or port.network.isolated or not guard.addresses:
            return None
        host = str(guard.addresses[0])
        return Door(guest_port=guest_port, host=host, port=guest_port, namespace=self._layout.wan)

    async def place(self, way: Way) -> Place:
        """Return the gateway's seat and the address that other clouds' gateways dial."""
        seat = self._layout.seat(way)
        return Place(
            cloud=self._name, subnet=seat.network, address=str(seat.address), namespace=seat.namespace
        )

    async def destroy(self) -> None:
        """Remove the cloud's namespaces, its link, and the ``wan`` when it was the last."""
        async with kernel.locked(self._layout.locks[0]):
            await wan.leave(self._layout)
            for namespace in kernel.namespaces(self._layout.prefix):
                await kernel.remove_namespace(namespace)

    async def _plug(self, namespace: str, port: Port, guard: ruleset.Guard) -> None:
        bridge = bridge_name(port.network.name)
        found = await devices(namespace) if kernel.there(namespace) else {}
        if bridge not in found:
            raise errors.NotFound(
                "cloud.network.missing",
                f"The network {port.network.name} is not set up on this machine.",
                remedy="Start the cloud's service: it makes the networks of its cloud.",
                field=f"nics[{port.index}].network",
            )
        gone = await plug(namespace, bridge, guard, found)
        if port.network.isolated:
            return  # its addresses may be those of guests in another network
        public = () if guard.sealed else guard.addresses
        await wan.withdraw(self._layout, (gone | set(guard.addresses)).difference(public))
        await wan.publish(self._layout, public)

    async def _unplug(self, namespace: str, tap: str) -> None:
        gone = await unplug(namespace, tap)
        if namespace == self._layout.router:
            await wan.withdraw(self._layout, gone)

    def _routers(self) -> list[str]:
        isolated = kernel.namespaces(self._layout.isolated_prefix)
        return [name for name in (self._layout.router, *isolated) if kernel.there(name)]


async def _make_router(
    namespace: str, networks: Iterable[Network], *, seats: Iterable[Seat] = (), outside: str = ""
) -> None:
    """Make a namespace that routes between ``networks``: rules before links, so nothing is open first."""
    segments = [Segment.of(network) for network in networks]
    await kernel.make_namespace(namespace)
    await kernel.set_switches({namespace: kernel.ROUTER})
    script = ruleset.skeleton(
        (segment.bridge for segment in segments),
        seats={seat.device: seat.address for seat in seats},
        wan=outside,
    )
    await kernel.apply(script, namespace=namespace)
    await make_segments(namespace, segments)
    await kernel.set_switches({namespace: _neighbourly(segments)})


def _neighbourly(segments: Iterable[Segment]) -> Mapping[str, str]:
    """Return the switches that let the router answer ARP for guests of one network, at once (RFC 3069)."""
    switches: dict[str, str] = {}
    for segment in segments:
        switches[f"net/ipv4/conf/{segment.bridge}/proxy_arp_pvlan"] = "1"
        switches[f"net/ipv4/neigh/{segment.bridge}/proxy_delay"] = "0"
    return switches


def _check(networks: Iterable[Network]) -> None:
    usual = [network for network in networks if not network.reserved]
    for network in usual:
        router_address(network)
    joined = [network for network in usual if not network.isolated]
    for one, other in itertools.combinations(joined, 2):
        if subnet(one).overlaps(subnet(other)):
            raise errors.Invalid(
                "cloud.network.overlap",
                f"The networks {one.name} ({one.cidr}) and {other.name} ({other.cidr}) overlap.",
                remedy="Give one of them another range, or make it isolated.",
                field=f"networks.{other.name}.cidr",
            )
