"""See which links, addresses and port rules a namespace has, so that only what is missing is made."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crossport.clouds.local.network import kernel

__all__ = ["Device", "Guarded", "devices", "guarded"]

_Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """One link: its kind (``bridge``, ``veth``, ``tun``), the bridge it is in, its IPv4 addresses."""

    name: str
    kind: str
    bridge: str
    addresses: tuple[ipaddress.IPv4Interface, ...]


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the rules in force say of the ports: to which tap each address leads, which are sealed."""

    taps: frozenset[str]
    owners: Mapping[ipaddress.IPv4Address, str]
    sealed: frozenset[ipaddress.IPv4Address]

    def addresses(self, tap: str) -> frozenset[ipaddress.IPv4Address]:
        """Return the addresses that lead to the tap."""
        return frozenset(address for address, owner in self.owners.items() if owner == tap)


async def devices(namespace: str) -> dict[str, Device]:
    """Return the links of a namespace by name."""
    rows: list[_Fields] = await kernel.listed(["ip", "-j", "-d", "addr", "show"], namespace=namespace)
    return {row["ifname"]: _device(row) for row in rows if row}


def _device(row: _Fields) -> Device:
    addresses = tuple(
        ipaddress.IPv4Interface((entry["local"], entry["prefixlen"]))
        for entry in row.get("addr_info", ())
        if entry.get("family") == "inet"
    )
    return Device(
        row["ifname"], row.get("linkinfo", {}).get("info_kind", ""), row.get("master", ""), addresses
    )


async def guarded(namespace: str) -> Guarded:
    """Return what the rules of a namespace say of its ports. They must have been made."""
    said = await kernel.listed(["nft", "-j", "list", "table", "inet", "crossport"], namespace=namespace)
    things: list[Mapping[str, _Fields]] = said["nftables"]
    chains = [thing["chain"]["name"] for thing in things if "chain" in thing]
    return Guarded(
        # The rules of a port are made and removed in one transaction, so one of its chains stands for all.
        taps=frozenset(name.removeprefix("out_") for name in chains if name.startswith("out_")),
        owners={
            ipaddress.IPv4Address(address): verdict["goto"]["target"].removeprefix("out_")
            for address, verdict in _elements(things, "map", "sources")
        },
        sealed=frozenset(ipaddress.IPv4Address(element) for element in _elements(things, "set", "sealed")),
    )


def _elements(things: Iterable[Mapping[str, _Fields]], kind: str, name: str) -> list[Any]:
    for thing in things:
        if thing.get(kind, {}).get("name") == name:
            return list(thing[kind].get("elem", ()))
    return []
