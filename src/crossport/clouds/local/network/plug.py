"""Plug a VM's NIC into its network inside one namespace: rules first, then the tap, then the way to it.

The router knows each guest's MAC beforehand (permanent neighbours, fixed forwarding entries, no learning),
so no guest can draw another's packets to itself. Made again, everything here completes what was begun.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crossport import errors
from crossport.clouds.local.fabric import Port
from crossport.clouds.local.network import kernel, layout, ruleset
from crossport.clouds.local.network.device import Device, devices, guarded
from crossport.model.construct import Network

__all__ = ["Segment", "guard_of", "make_segments", "plug", "unplug"]

_IPv4 = ipaddress.IPv4Address


@dataclass(frozen=True, slots=True)
class Segment:
    """A network as a bridge: its name, and the router's address with prefix length."""

    bridge: str
    router: str

    @classmethod
    def of(cls, network: Network) -> "Segment":
        """Return the segment of a network that the cloud's users have."""
        length = layout.subnet(network).prefixlen
        return cls(layout.bridge_name(network.name), f"{layout.router_address(network)}/{length}")

    @property
    def mac(self) -> str:
        """The router's MAC: fixed, because a bridge's own choice changes with what is plugged in."""
        digest = hashlib.sha256(self.bridge.encode()).hexdigest()
        return "02:" + ":".join(digest[at : at + 2] for at in range(0, 10, 2))


async def make_segments(namespace: str, segments: Iterable[Segment]) -> None:
    """Make these bridges, and remove others with everything plugged into them."""
    wanted = {segment.bridge: segment for segment in segments}
    found = await devices(namespace)
    for name, device in found.items():
        if device.kind == "bridge" and name not in wanted:
            for tap in [tap for tap in found.values() if tap.bridge == name]:
                await unplug(namespace, tap.name)
            await kernel.batch("ip", [f"link delete {name}"], namespace=namespace)
    lines: list[str] = []
    for segment in wanted.values():
        lines += _segment_lines(segment, found.get(segment.bridge))
    await kernel.batch("ip", lines, namespace=namespace)


def _segment_lines(segment: Segment, found: Device | None) -> list[str]:
    name, lines = segment.bridge, list[str]()
    if found is None:
        lines.append(
            f"link add {name} address {segment.mac} mtu 1500 type bridge stp_state 0 mcast_snooping 0"
        )
    stale = [address for address in found.addresses if str(address) != segment.router] if found else []
    lines += [f"addr delete {address} dev {name}" for address in stale]
    return [*lines, f"addr replace {segment.router} dev {name}", f"link set {name} up"]


def guard_of(port: Port) -> ruleset.Guard:
    """Return what the port's rules depend on. Raise Invalid for addresses its network does not have."""
    hosts = layout.subnet(port.network)
    router = layout.router_address(port.network)
    addresses: list[_IPv4] = []
    for text in port.addresses:
        try:
            address = ipaddress.IPv4Interface(text).ip
        except ValueError as error:
            raise _unusable(port, text, "it is no IPv4 address, and others are not carried here") from error
        if address not in hosts or address in (hosts.network_address, hosts.broadcast_address):
            raise _unusable(port, text, f"it is no host of {hosts}")
        if address == router:
            raise _unusable(port, text, "it is the address of the network's router")
        addresses.append(address)
    return ruleset.Guard(
        tap=layout.tap_name(port.vm_id, port.index),
        mac=port.mac.lower(),
        addresses=tuple(dict.fromkeys(addresses)),
        rules=port.rules,
        sealed=port.quarantine or port.isolated,
    )


async def plug(
    namespace: str, bridge: str, guard: ruleset.Guard, found: dict[str, Device]
) -> frozenset[_IPv4]:
    """Put the port's rules in force, make its tap unless there is one, and lead to it.

    Return the addresses that it had before and has no longer. Raise Conflict when another port has its MAC
    or one of its addresses.
    """
    entries: list[dict[str, Any]] = await kernel.listed(
        ["bridge", "-j", "fdb", "show", "br", bridge], namespace=namespace
    )
    fixed = {
        e["mac"]: e["ifname"] for e in entries if e.get("state") == "static" and e.get("master") == bridge
    }
    if fixed.get(guard.mac, guard.tap) != guard.tap:
        raise _taken("mac", guard.mac)
    gone = await _rule(namespace, guard)
    lines = [] if guard.tap in found else [f"tuntap add dev {guard.tap} mode tap"]
    lines += [f"link set {guard.tap} mtu 1500 master {bridge}", f"link set {guard.tap} up"]
    await kernel.batch("ip", lines, namespace=namespace)
    stale = [
        f"fdb delete {mac} dev {guard.tap} master static"
        for mac, tap in fixed.items()
        if tap == guard.tap and mac != guard.mac
    ]
    await kernel.batch(
        "bridge",
        [
            f"link set dev {guard.tap} learning off",
            *stale,
            f"fdb replace {guard.mac} dev {guard.tap} master static",
        ],
        namespace=namespace,
    )
    ways = [f"neigh replace {a} lladdr {guard.mac} dev {bridge} nud permanent" for a in guard.addresses]
    await kernel.batch("ip", ways, namespace=namespace)
    await _forget(namespace, gone)
    return gone


async def unplug(namespace: str, tap: str) -> frozenset[_IPv4]:
    """Remove the tap, then its rules; return the addresses it had. Nothing happens when it is not there."""
    if tap in await devices(namespace):
        await kernel.batch("ip", [f"link delete {tap}"], namespace=namespace)
    now = await guarded(namespace)
    addresses = now.addresses(tap)
    if tap in now.taps:
        script = ruleset.port_removed(tap, addresses=addresses, sealed=addresses & now.sealed)
        await _forget(namespace, addresses)
        await kernel.apply(script, namespace=namespace)
    return addresses


async def _rule(namespace: str, guard: ruleset.Guard) -> frozenset[_IPv4]:
    now = await guarded(namespace)
    for address in guard.addresses:
        if now.owners.get(address, guard.tap) != guard.tap:
            raise _taken("address", str(address))
    held = now.addresses(guard.tap)
    gone = held - set(guard.addresses)
    unsealed = (held & now.sealed) - (set(guard.addresses) if guard.sealed else set[_IPv4]())
    removal = ruleset.port_removed(guard.tap, addresses=gone, sealed=unsealed, chains=False)
    await kernel.apply(removal + ruleset.port_rules(guard), namespace=namespace)
    return gone


async def _forget(namespace: str, addresses: frozenset[_IPv4]) -> None:
    """Remove the permanent neighbours with these addresses."""
    wanted = {str(address) for address in addresses}
    if not wanted:
        return
    rows: list[dict[str, Any]] = await kernel.listed(
        ["ip", "-j", "neigh", "show", "nud", "permanent"], namespace=namespace
    )
    lines = [f"neigh delete {row['dst']} dev {row['dev']}" for row in rows if row["dst"] in wanted]
    await kernel.batch("ip", lines, namespace=namespace)


def _unusable(port: Port, text: str, why: str) -> errors.Invalid:
    return errors.Invalid(
        "cloud.address.unusable",
        f"A NIC in the network {port.network.name} cannot have the address {text}: {why}.",
        remedy=f"Choose another host address of {port.network.cidr}.",
        field=f"nics[{port.index}].addresses",
    )


def _taken(what: str, value: str) -> errors.Conflict:
    return errors.Conflict(
        f"cloud.{what}.taken",
        f"Another NIC of this cloud has {value} already.",
        remedy=f"Give this NIC another {'MAC' if what == 'mac' else 'address'}, or unplug the other one.",
        field=f"nics.{what}",
    )
