"""The networks of a cloud without root: QEMU's own user-mode network, with forwards from loopback.

Each NIC is alone in a network of its own, in which QEMU answers as the gateway. The guest can open no
connection at all (``restrict=on``): QEMU would carry it to anything that this account reaches, services on
this machine's loopback included, and could not be told to stop when a quarantine begins or ends. TCP ports
that the security groups admit from anywhere are forwarded from free ports of 127.0.0.1; `notes` says in
words what that does not enforce.
"""

import asyncio
import contextlib
import errno
import hashlib
import ipaddress
import socket
from collections.abc import Iterable, Mapping, Set

from crossport import errors
from crossport.clouds.local.fabric import Door, Forward, NicBackend, Port
from crossport.clouds.local.network import layout, ruleset
from crossport.clouds.local.network.plug import guard_of
from crossport.model.artifact import Place, Way
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET, Network

__all__ = ["UserNet"]

LOOPBACK = "127.0.0.1"
# Below the range from which Linux takes ports for outgoing connections (32768 and up).
FIRST_PORT, PORT_COUNT = 20_000, 10_000
# A rule that names more ports than this is not forwarded port by port.
WIDEST = 16


class UserNet:
    """User-mode networks of the cloud with this id and name."""

    notes: tuple[str, ...] = (
        "Without root the security groups are not enforced as written.",
        "Guests do not reach one another and cannot open connections at all.",
        f"Rules that admit TCP from anywhere to at most {WIDEST} ports are followed, other rules ignored.",
        "Admitted ports are forwarded from 127.0.0.1.",
        "A forwarded port, and in quarantine the prober's, can be reached by every account of this machine.",
        "The gateways sit on the loopback of this machine, not in subnets of their own.",
    )

    def __init__(self, cloud_id: str, name: str) -> None:
        self._cloud_id = cloud_id
        self._name = name

    async def ensure(self, networks: tuple[Network, ...]) -> None:
        """Check the networks; there is nothing to make. Raise Invalid for addresses that cannot be used."""
        for network in networks:
            if not network.reserved:
                layout.router_address(network)

    async def attach(self, port: Port) -> NicBackend:
        """Return a user-mode network for the NIC, and the forwards to add to it."""
        guard = guard_of(port)
        return NicBackend(
            netdev=_netdev(port.network, guard.addresses),
            needs_network=True,
            forwards=self._forwards(port, guard),
        )

    async def update(self, port: Port) -> tuple[Forward, ...]:
        """Return the forwards that follow from the port's rules and quarantine now."""
        return self._forwards(port, guard_of(port))

    async def detach(self, vm_id: str, index: int) -> None:
        """Do nothing: what there is ends with QEMU."""

    async def keep(self, plugged: Set[tuple[str, int]]) -> None:
        """Do nothing: what there is ends with QEMU."""

    async def connect(self, port: Port, guest_port: int, timeout_s: float) -> socket.socket:
        """Dial the private forward of the guest's port; refused when that is not among the probed ones."""
        forward = _forward(port.forwards, guest_port, public=False)
        if forward is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"port {guest_port} has no forward")
        dialled = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            dialled.setblocking(False)
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(dialled, (LOOPBACK, forward.host_port))
        except BaseException:
            dialled.close()
            raise
        return dialled

    async def door(self, port: Port, guest_port: int) -> Door | None:
        """Return the public forward of the guest's port, if it has one."""
        forward = _forward(port.forwards, guest_port, public=True)
        if forward is None or port.quarantine or port.isolated:
            return None
        return Door(guest_port=guest_port, host=LOOPBACK, port=forward.host_port)

    async def place(self, way: Way) -> Place:
        """Return the loopback, where all gateways of this machine are then."""
        subnet = EXPORT_SUBNET if way is Way.READ else IMPORT_SUBNET
        return Place(cloud=self._name, subnet=subnet, address=LOOPBACK)

    async def destroy(self) -> None:
        """Do nothing: nothing was made."""

    def _forwards(self, port: Port, guard: ruleset.Guard) -> tuple[Forward, ...]:
        if not guard.addresses:
            return ()
        wanted = [(guest_port, False) for guest_port in port.probed]
        if not guard.sealed and not port.network.isolated:
            wanted += [(number, True) for number in ruleset.admitted_tcp(guard.rules, WIDEST)]
        made: list[Forward] = []
        for guest_port, public in dict.fromkeys(wanted):
            kept = _forward(port.forwards, guest_port, public=public)
            used = {forward.host_port for forward in (*port.forwards, *made)}
            made.append(kept or self._new_forward(port, guest_port, public, used))
        return tuple(made)

    def _new_forward(self, port: Port, guest_port: int, public: bool, used: set[int]) -> Forward:
        # A number of its own to begin with, so that two clouds that choose at once choose differently.
        text = f"{self._cloud_id}/{port.vm_id}/{port.index}/{guest_port}/{public}"
        first = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
        for step in range(PORT_COUNT):
            number = FIRST_PORT + (first + step) % PORT_COUNT
            if number not in used and _free(number):
                return Forward(host_port=number, guest_port=guest_port, public=public)
        raise errors.Unavailable(
            "cloud.network.no_free_port",
            f"No port from {FIRST_PORT} to {FIRST_PORT + PORT_COUNT - 1} of {LOOPBACK} is free.",
            remedy="Stop what listens there.",
        )


def _netdev(network: Network, addresses: Iterable[ipaddress.IPv4Address]) -> Mapping[str, object]:
    """Return the QAPI form of ``-netdev user``, laid out as the network is."""
    hosts, router = layout.subnet(network), layout.router_address(network)
    own = list(addresses)
    # QEMU wants addresses for its name server and for DHCP. The guest can ask neither for another's name, and
    # DHCP gives it the address that it has anyway. The last four of any network hold two that are free.
    last = int(hosts.broadcast_address)
    spare = [a for n in (1, 2, 3, 0) if (a := ipaddress.IPv4Address(last - n)) not in (router, *own)]
    return {
        "type": "user",
        "net": str(hosts),
        "host": str(router),
        "dns": str(spare[0]),
        "dhcpstart": str((own or spare[1:])[0]),
        "ipv6": False,
        "restrict": True,
    }


def _forward(forwards: Iterable[Forward], guest_port: int, *, public: bool) -> Forward | None:
    return next((f for f in forwards if f.guest_port == guest_port and f.public is public), None)


def _free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        # As QEMU does, so that connections that have ended do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            trial.bind((LOOPBACK, number))
            return True
    return False
