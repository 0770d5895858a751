"""What the embedded cloud asks of its network: plug a NIC, change its rules, reach a guest, seat the gateway.

Two implementations, chosen by ``crossport.clouds.local.network.fabric(kind, cloud_id, name, home=…)`` with
kind ``enforced`` (root: a network namespace per cloud; clouds with one ``home`` directory meet in its
``wan``) or ``user`` (no root: says in ``notes`` what it cannot enforce). The cloud owns the state; a fabric
keeps nothing that it cannot find again in the kernel or in the ``Port`` it is given. So every call may be
made again, and after a restart of the service ``ensure`` and then ``update`` per running NIC are enough.
"""

import socket
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from crossport.model.artifact import Place, Way
from crossport.model.construct import Network, Rule
from crossport.model.record import record

__all__ = ["Door", "Fabric", "Forward", "NicBackend", "Port"]


@record()
class Forward:
    """A listening port of this machine's loopback that user-mode networking carries into the guest.

    ``public`` ones are for everybody; the others are the prober's own and are told to nobody.
    """

    host_port: int
    guest_port: int
    public: bool


@record()
class Port:
    """One NIC of a VM as the network sees it. (vm_id, index) names it; every other field may change.

    ``rules`` are ``network.rules_of(groups)``, which adds the egress that a group without egress rules
    admits; a port without rules admits nothing, either way. In ``quarantine`` only the cloud's own prober
    reaches the guest and the guest reaches nobody; ``isolated`` says that this will never end. ``forwards``
    are what the last answer for this port said, so that they stay the same. ``probed`` are the guest's TCP
    ports that ``connect`` will be asked for: user-mode networking needs a private forward for each.
    ``owner_uid`` is the uid of the QEMU process.
    """

    vm_id: str
    index: int
    mac: str
    network: Network
    addresses: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    quarantine: bool = True
    isolated: bool = False
    forwards: tuple[Forward, ...] = ()
    probed: tuple[int, ...] = ()
    owner_uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NicBackend:
    """What QEMU is told. ``netdev`` is the JSON of ``-netdev`` / ``netdev_add`` without ``id``.

    A tap travels as an open descriptor: it is listed in ``descriptors`` under the netdev's member
    (``{"fd": 17}``), and whoever starts QEMU passes it on, writes the number there, and closes its own copy.
    ``needs_network`` says that QEMU itself opens sockets (slirp) and must keep a network namespace.
    ``forwards`` are added to QEMU by ``hostfwd_add``, and taken away when they are no longer listed; they are
    not in ``netdev``.
    """

    netdev: Mapping[str, object]
    descriptors: Mapping[str, int] = field(default_factory=dict[str, int])
    needs_network: bool = False
    forwards: tuple[Forward, ...] = ()


@record()
class Door:
    """How somebody outside the cloud reaches a guest's TCP port.

    ``namespace`` is the network namespace to come from, empty for this machine's own.
    """

    guest_port: int
    host: str
    port: int
    namespace: str = ""


class Fabric(Protocol):
    """The network of one cloud. All calls are idempotent; none blocks the event loop."""

    notes: tuple[str, ...]
    """What is not enforced here, in words; empty when everything is."""

    async def ensure(self, networks: tuple[Network, ...]) -> None:
        """Make what the cloud's networks need, and remove networks that are no longer listed.

        Raise Unavailable ``cloud.network.failed`` with what the system said.
        """
        ...

    async def attach(self, port: Port) -> NicBackend:
        """Plug the NIC, with its rules in force before this returns. The caller closes ``descriptors``.

        A port that is plugged already answers with new descriptors of the same device.
        """
        ...

    async def update(self, port: Port) -> tuple[Forward, ...]:
        """Put changed rules, quarantine or isolation in force; return the forwards that hold from now on."""
        ...

    async def detach(self, vm_id: str, index: int) -> None:
        """Unplug the NIC. Not an error when it is not plugged."""
        ...

    async def keep(self, plugged: Set[tuple[str, int]]) -> None:
        """Unplug every NIC but these, each a VM's id and the NIC's number: what a killed service left."""
        ...

    async def connect(self, port: Port, guest_port: int, timeout_s: float) -> socket.socket:
        """Open a TCP connection from the cloud's own seat, which quarantine admits.

        Raise OSError (TimeoutError included) as a socket does. The caller closes the socket.
        """
        ...

    async def door(self, port: Port, guest_port: int) -> Door | None:
        """Return how others reach that TCP port; None in quarantine, without address, without forward."""
        ...

    async def place(self, way: Way) -> Place:
        """Return the gateway's seat in the export or import subnet."""
        ...

    async def destroy(self) -> None:
        """Remove everything this cloud has in the kernel. Not an error when nothing is there."""
        ...
