"""The networks of the embedded cloud: enforced by the kernel for root, user-mode networks for others."""

from typing import Literal

from crossport.clouds.local.fabric import Fabric
from crossport.clouds.local.network import kernel, readiness
from crossport.clouds.local.network.enforced import NamespaceNet
from crossport.clouds.local.network.layout import Layout, prefix
from crossport.clouds.local.network.ruleset import need_mac, parsed_rule, rules_of
from crossport.clouds.local.network.user import UserNet
from crossport.model.artifact import Way
from crossport.model.construct import Network

__all__ = [
    "Kind",
    "fabric",
    "leftovers",
    "need_mac",
    "parsed_rule",
    "remove_leftovers",
    "reserved_networks",
    "rules_of",
    "usual_kind",
]

Kind = Literal["enforced", "user"]


def fabric(kind: Kind, cloud_id: str, name: str, *, home: str, wan_rate_bps: int = 0) -> Fabric:
    """Return the network of the cloud ``cloud_id``, called ``name`` by people; nothing is made yet.

    ``home`` is the absolute path of the directory that clouds of one person share: clouds of one home reach
    one another over its ``wan``, of two homes never. ``wan_rate_bps`` limits each direction of this
    cloud's link to the ``wan``, 0 not at all; user-mode networks have no such link.
    """
    if kind == "enforced":
        return NamespaceNet(Layout(home, cloud_id), name, wan_rate_bps=wan_rate_bps)
    return UserNet(cloud_id, name)


def usual_kind() -> Kind:
    """Return ``enforced`` when this process is root, may make networks and has the tools, else ``user``."""
    return "enforced" if readiness.able() else "user"


def reserved_networks(cloud_id: str, *, home: str) -> tuple[Network, Network]:
    """Return VMExportSubnet and VMImportSubnet with the addresses that enforced networks give them."""
    seats = [Layout(home, cloud_id).seat(way) for way in (Way.READ, Way.WRITE)]
    export, import_ = (
        Network(name=seat.network, cidr=str(seat.addresses), gateway=str(seat.router), reserved=True)
        for seat in seats
    )
    return export, import_


def leftovers(home: str) -> tuple[str, ...]:
    """Return the namespaces of a home that exist on this machine."""
    return kernel.namespaces(prefix(home))


async def remove_leftovers(home: str) -> tuple[str, ...]:
    """Remove all namespaces of a home, whoever made them, and return their names."""
    found = leftovers(home)
    for name in found:
        await kernel.remove_namespace(name)
    return found
