"""Where a cloud's networks lie on this machine: names of namespaces and links, and addresses between clouds.

Everything follows from the home (the directory that the clouds share), the cloud's id and names inside
the cloud, by SHA-256: nothing is stored, two programs come to the same names, two homes never meet. All
namespaces of a home begin with `prefix`, so that what a killed program left is found by name.

Between clouds there are addresses from 100.64.0.0/10 (RFC 6598), which no network of a cloud may use: a slot
of a /30 for the link to the ``wan``, and one of a /29 for the gateway's seats. Two clouds of a home share a
slot with a chance of 1 in 262144; joining the ``wan`` then fails with an error that says so.
"""

import hashlib
import ipaddress
from dataclasses import dataclass

from crossport import errors
from crossport.model.artifact import Way
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET, Network

__all__ = [
    "BETWEEN_CLOUDS",
    "LINKS",
    "SEATS",
    "SEAT_MASK",
    "Layout",
    "Seat",
    "bridge_name",
    "opposite",
    "prefix",
    "router_address",
    "subnet",
    "tap_name",
]

IPv4 = ipaddress.IPv4Address
IPv4Network = ipaddress.IPv4Network

BETWEEN_CLOUDS = IPv4Network("100.64.0.0/10")
LINKS = IPv4Network("100.64.0.0/12")
SEATS = IPv4Network("100.96.0.0/11")
SEAT_MASK = IPv4("0.0.0.7")
"""What of a seat's address tells one that reads from one that writes."""
_SLOTS = 1 << 18  # as many /30 as LINKS has, and /29 as SEATS has


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def prefix(home: str) -> str:
    """Return how the names of all namespaces of a home begin."""
    return f"xp-{_digest(home, 8)}-"


def opposite(address: IPv4) -> IPv4:
    """Return what `SEAT_MASK` leaves of the seats that one at ``address`` speaks with."""
    other = int(address) ^ 4  # the two /30 of a cloud's seats
    return IPv4(other & int(SEAT_MASK))


def bridge_name(network: str) -> str:
    """Return the bridge of the network with this name; links have at most 15 characters."""
    return "n" + _digest(network, 10)


def tap_name(vm_id: str, index: int) -> str:
    """Return the tap of the VM's NIC number ``index``."""
    return "t" + _digest(f"{vm_id}/{index}", 10)


def subnet(network: Network) -> IPv4Network:
    """Return the network's addresses. Raise Invalid unless they are four or more of IPv4, and free."""
    try:
        found = ipaddress.ip_network(network.cidr)
    except ValueError as error:
        raise _unusable(network, f"{error}.") from error
    if not isinstance(found, IPv4Network):
        raise _unusable(network, "The embedded cloud carries IPv4 only.")
    if found.prefixlen > 30:
        raise _unusable(network, "It has fewer than four addresses.")
    if not network.reserved and found.overlaps(BETWEEN_CLOUDS):
        raise _unusable(network, f"{BETWEEN_CLOUDS} is used between clouds.")
    return found


def router_address(network: Network) -> IPv4:
    """Return the address from which the cloud's prober speaks: the gateway, or else the last host."""
    addresses = subnet(network)
    if not network.gateway:
        return addresses.broadcast_address - 1
    try:
        gateway = IPv4(network.gateway)
    except ValueError as error:
        raise _unusable(network, f"The gateway is no IPv4 address: {error}.", "gateway") from error
    if gateway not in addresses or gateway in (addresses.network_address, addresses.broadcast_address):
        raise _unusable(network, f"The gateway {gateway} is not one of its hosts.", "gateway")
    return gateway


def _unusable(network: Network, why: str, field: str = "cidr") -> errors.Invalid:
    return errors.Invalid(
        "cloud.network.unusable",
        f"The network {network.name} with {network.cidr} cannot be made. {why}",
        remedy="Give it a private IPv4 range such as 10.20.0.0/24.",
        field=f"networks.{network.name}.{field}",
    )


@dataclass(frozen=True, slots=True)
class Seat:
    """A namespace for a gateway, alone in its reserved subnet with the cloud's router."""

    namespace: str
    network: str
    device: str
    addresses: IPv4Network

    @property
    def router(self) -> IPv4:
        """The cloud's end."""
        return self.addresses[1]

    @property
    def address(self) -> IPv4:
        """The gateway's end, which its peers dial."""
        return self.addresses[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The names and addresses of one cloud."""

    home: str
    cloud_id: str

    @property
    def prefix(self) -> str:
        """How the names of all namespaces of this cloud begin."""
        return f"{prefix(self.home)}{_digest(self.cloud_id, 8)}"

    @property
    def router(self) -> str:
        """The namespace that holds the cloud's bridges, taps and rules, and routes between them."""
        return self.prefix

    @property
    def wan(self) -> str:
        """The namespace in which the clouds of this home meet."""
        return f"{prefix(self.home)}wan"

    @property
    def link(self) -> str:
        """The name of this cloud's link inside the ``wan`` namespace."""
        return "c" + _digest(self.cloud_id, 10)

    @property
    def locks(self) -> tuple[str, str]:
        """The locks of this cloud and of the ``wan``, always taken in this order; of each kind few exist."""
        return f"cloud-{_digest(self.cloud_id, 2)}", f"wan-{_digest(self.home, 2)}"

    @property
    def link_addresses(self) -> IPv4Network:
        """The /30 between the ``wan`` (its first host) and the cloud (its second)."""
        return IPv4Network((int(LINKS.network_address) + 4 * self._slot, 30))

    @property
    def seat_addresses(self) -> IPv4Network:
        """The /29 that the reserved subnets share."""
        return IPv4Network((int(SEATS.network_address) + 8 * self._slot, 29))

    def isolated(self, network: str) -> str:
        """Return the namespace of an isolated network, which nothing joins to any other."""
        return f"{self.isolated_prefix}{_digest(network, 8)}"

    @property
    def isolated_prefix(self) -> str:
        """How the names of the namespaces of isolated networks begin."""
        return f"{self.prefix}-only-"

    def home_of(self, network: Network) -> str:
        """Return the namespace in which the network lies."""
        return self.isolated(network.name) if network.isolated else self.router

    def seat(self, way: Way) -> Seat:
        """Return the gateway's seat for reading out or writing in."""
        export, import_ = self.seat_addresses.subnets(new_prefix=30)
        if way is Way.READ:
            return Seat(f"{self.prefix}-export", EXPORT_SUBNET, "export", export)
        return Seat(f"{self.prefix}-import", IMPORT_SUBNET, "import", import_)

    @property
    def _slot(self) -> int:
        return int(_digest(f"{self.home}\0{self.cloud_id}", 12), 16) % _SLOTS
