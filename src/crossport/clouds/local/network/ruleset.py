"""Turn security groups into nftables commands: what the model admits passes, everything else is dropped.

Pure. The text goes to ``nft -f``, which applies it whole or not at all; given again it changes nothing.
The rules:

* A frame from a tap passes only with the port's own MAC and one of its addresses, in Ethernet, ARP and IPv4.
  Other protocols (IPv6, tagged frames) are dropped, and so is every frame of a tap that has no rules yet.
* Frames are never bridged from tap to tap: guests of one network reach one another through the cloud's
  router, which answers ARP for all of them. So one ``inet`` hook with connection tracking sees everything.
* A new connection needs an egress rule of its sender and an ingress rule of its receiver, where these are
  guests of this cloud. Answers, and ICMP errors that belong to a connection, are admitted. Rules that are
  taken away hold for new connections.
* A sealed port (quarantine, isolated) exchanges packets with the router itself only, and only when the
  router began; connections it had before end at once.
* The router's own namespace is the prober's: it reaches every port, whatever the groups say.
* A gateway that reads reaches the seats of gateways that write, of this and other clouds, and these reach it:
  by TCP, at the ports at which workers listen. Nothing else reaches a seat, and a seat reaches nothing else.

As in OpenStack, rules of several groups add up, a port without group admits nothing, and a group that says
nothing about egress admits all of it (`rules_of`).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from crossport import errors
from crossport.clouds.local.network.layout import SEAT_MASK, SEATS, opposite
from crossport.model.construct import Direction, Rule, SecurityGroup

__all__ = [
    "Guard",
    "admitted_tcp",
    "need_mac",
    "parsed_rule",
    "port_removed",
    "port_rules",
    "rules_of",
    "skeleton",
]

Protocol = Literal["tcp", "udp", "icmp", "any"]
_ALL_EGRESS = Rule(direction=Direction.EGRESS)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PORTS = 65536
_WORKERS = "meta l4proto tcp th dport 1024-65535"
"""A worker listens at a port of its kernel's choice; whatever else runs at a gateway is below."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What the rules of one tap depend on. ``sealed``: only the router reaches it, and it reaches nobody."""

    tap: str
    mac: str
    addresses: tuple[ipaddress.IPv4Address, ...]
    rules: tuple[Rule, ...]
    sealed: bool

    def __post_init__(self) -> None:
        need_mac(self.mac, "nics.mac")


@dataclass(frozen=True, slots=True)
class Passage:
    """A rule, checked: packets of ``protocol`` to ports ``first`` to ``last`` from or to ``remote``."""

    protocol: Protocol
    first: int
    last: int
    remote: ipaddress.IPv4Network

    @property
    def all_ports(self) -> bool:
        """Whether ports do not matter."""
        return self.protocol == "icmp" or (self.first, self.last) == (0, _PORTS - 1)


def need_mac(mac: str, field: str) -> None:
    """Raise Invalid ``cloud.mac.unusable`` for what is not one card's address."""
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        raise errors.Invalid(
            "cloud.mac.unusable",
            f"{mac!r} is no MAC address of one card.",
            remedy="Write six pairs of lower-case hex digits, the first of them even: 52:54:00:12:34:56.",
            field=field,
        )


def rules_of(groups: Iterable[SecurityGroup]) -> tuple[Rule, ...]:
    """Return what a port with these groups admits: the rules of all, and all egress for each silent group.

    A new security group of OpenStack has a rule that admits all egress; whoever wants less replaces it. Here
    a group without any egress rule stands for the new one.
    """
    rules: list[Rule] = []
    for group in groups:
        rules += group.rules
        if not any(rule.direction is Direction.EGRESS for rule in group.rules):
            rules.append(_ALL_EGRESS)
    return tuple(dict.fromkeys(rules))


def parsed_rule(rule: Rule) -> Passage | None:
    """Return the checked rule; None when it is about IPv6 only, which these networks do not carry.

    ``any`` with fewer than all ports stands for tcp and udp; ports do not matter to icmp. Raise Invalid
    ``cloud.rule.unusable`` when the rule cannot be meant.
    """
    try:
        remote = ipaddress.ip_network(rule.cidr, strict=False)
    except ValueError as error:
        raise _unusable(rule, f"{error}.", "cidr") from error
    if rule.protocol not in ("tcp", "udp", "icmp", "any"):
        raise _unusable(rule, "The protocol is none of tcp, udp, icmp, any.", "protocol")
    if not 0 <= rule.first_port <= rule.last_port < _PORTS:
        raise _unusable(rule, f"The ports are not between 0 and {_PORTS - 1}, in order.", "first_port")
    if isinstance(remote, ipaddress.IPv6Network):
        return None
    return Passage(rule.protocol, rule.first_port, rule.last_port, remote)


def admitted_tcp(rules: Iterable[Rule], widest: int) -> tuple[int, ...]:
    """Return the TCP ports that everybody may dial, by rules that name at most ``widest`` ports each."""
    found: set[int] = set()
    for rule in rules:
        passage = parsed_rule(rule) if rule.direction is Direction.INGRESS else None
        if passage is None or passage.protocol not in ("tcp", "any") or passage.remote.prefixlen:
            continue
        if passage.last - passage.first < widest:
            found.update(range(max(passage.first, 1), passage.last + 1))
    return tuple(sorted(found))


def skeleton(bridges: Iterable[str], *, seats: Mapping[str, ipaddress.IPv4Address], wan: str = "") -> str:
    """Return the commands for everything but the ports; the rules of ports stay as they are.

    ``seats`` maps the router's device to the address of the gateway behind it; ``wan`` is the router's
    device towards other clouds, empty where there is none.
    """
    lines = [
        "add table bridge crossport",
        "add map bridge crossport taps { type ifname : verdict; }",
        *_chain("bridge", "prerouting", "filter hook prerouting priority -300"),
        "add rule bridge crossport prerouting iifname vmap @taps",
        *_chain("bridge", "forward", "filter hook forward priority -200"),
        "add table inet crossport",
        "add set inet crossport bridges { type ifname; }",
        "flush set inet crossport bridges",
        "add set inet crossport sealed { type ipv4_addr; }",
        "add map inet crossport sources { type ipv4_addr : verdict; }",
        "add map inet crossport targets { type ipv4_addr : verdict; }",
        *_chain("inet", "arriving"),
        *_chain("inet", "leaving"),
        *_chain("inet", "forward", "filter hook forward priority 0"),
        *_chain("inet", "input", "filter hook input priority 0"),
        *_chain("inet", "output", "filter hook output priority 0"),
        *_rules("inet", "arriving", _arriving(wan)),
        *_rules("inet", "leaving", ["ip saddr vmap @sources", "drop"]),
        *_rules("inet", "forward", _forward(seats, wan)),
        *_rules("inet", "input", _INPUT),
        *_rules("inet", "output", _OUTPUT),
    ]
    if names := ", ".join(f'"{name}"' for name in sorted(bridges)):
        lines.append(f"add element inet crossport bridges {{ {names} }}")
    return "\n".join(lines) + "\n"


_INPUT = [
    'iifname "lo" accept',
    "ct state established,related accept",
    "ip saddr @sealed drop",
    # Guests may ask whether their gateway is there; nothing else on the router listens to them.
    "iifname @bridges icmp type echo-request goto leaving",
]
_OUTPUT = [
    'oifname "lo" accept',
    "ct state established,related accept",
    "oifname @bridges accept",
]


def _arriving(wan: str) -> list[str]:
    # Only an echo request to the router itself comes here from the input hook; from forward nothing is local.
    lines = ["fib daddr type local accept"]
    if wan:
        lines.append(f'oifname "{wan}" ip daddr != {SEATS} accept')
    return [*lines, "oifname @bridges ip daddr vmap @targets", "drop"]


def _forward(seats: Mapping[str, ipaddress.IPv4Address], wan: str) -> list[str]:
    lines = ["ip saddr @sealed drop", "ip daddr @sealed drop", "ct state invalid drop"]
    lines.append("ct state established,related accept")
    exits = ", ".join(f'"{device}"' for device in (*sorted(seats), *([wan] if wan else [])))
    for device, address in sorted(seats.items()):
        peer = opposite(address)
        there, back = (
            f"ip {field} {SEATS} ip {field} & {SEAT_MASK} == {peer}" for field in ("daddr", "saddr")
        )
        lines.append(f'iifname "{device}" oifname {{ {exits} }} ip saddr {address} {there} {_WORKERS} accept')
        if wan:
            lines.append(f'iifname "{wan}" oifname "{device}" {back} ip daddr {address} {_WORKERS} accept')
    lines.append("iifname @bridges goto leaving")
    if wan:
        # What comes from outside for an address that is not here must not go back outside.
        # Another cloud keeps its gateways from our guests; if it does not, we do.
        lines.append(f'iifname "{wan}" oifname @bridges ip saddr != {SEATS} goto arriving')
    return lines


def port_rules(guard: Guard) -> str:
    """Return the commands that put the rules of one port in force.

    They fail when one of its addresses belongs to another port; addresses it had before and has no longer
    are taken away by `port_removed`, in the same transaction.
    """
    tap, hosts = guard.tap, ", ".join(map(str, guard.addresses))
    lines = [
        *_chain("bridge", f"from_{tap}"),
        *_rules("bridge", f"from_{tap}", _own_only(guard)),
        f'add element bridge crossport taps {{ "{tap}" : goto from_{tap} }}',
        *_chain("inet", f"out_{tap}"),
        *_rules("inet", f"out_{tap}", [*_matches(guard, Direction.EGRESS, "goto arriving"), "drop"]),
        *_chain("inet", f"in_{tap}"),
        *_rules("inet", f"in_{tap}", [*_matches(guard, Direction.INGRESS, "accept"), "drop"]),
    ]
    for address in guard.addresses:
        lines.append(f"add element inet crossport sources {{ {address} : goto out_{tap} }}")
        lines.append(f"add element inet crossport targets {{ {address} : goto in_{tap} }}")
    if guard.sealed and hosts:
        lines.append(f"add element inet crossport sealed {{ {hosts} }}")
    return "\n".join(lines) + "\n"


def port_removed(
    tap: str,
    *,
    addresses: Iterable[ipaddress.IPv4Address],
    sealed: Iterable[ipaddress.IPv4Address],
    chains: bool = True,
) -> str:
    """Return the commands that take a port's ``addresses`` and ``sealed`` ones away, and its chains.

    All of them must be there, and no other address may lead to the chains.
    """
    lines = [
        f"delete element inet crossport {name} {{ {address} }}"
        for address in sorted(set(addresses))
        for name in ("sources", "targets")
    ]
    lines += [f"delete element inet crossport sealed {{ {address} }}" for address in sorted(set(sealed))]
    if chains:
        lines.append(f'delete element bridge crossport taps {{ "{tap}" }}')
        for chain in (
            f"bridge crossport from_{tap}",
            f"inet crossport out_{tap}",
            f"inet crossport in_{tap}",
        ):
            lines += [f"flush chain {chain}", f"delete chain {chain}"]
    return "".join(f"{line}\n" for line in lines)


def _own_only(guard: Guard) -> list[str]:
    lines = [f"ether saddr != {guard.mac} drop"]
    if guard.addresses:
        hosts = ", ".join(map(str, guard.addresses))
        # 0.0.0.0 asks whether anybody has an address (RFC 5227) and claims none.
        lines.append(
            f"ether type arp arp saddr ether {guard.mac} arp saddr ip {{ 0.0.0.0, {hosts} }} accept",
        )
        lines.append(f"ether type ip ip saddr {{ {hosts} }} accept")
    return [*lines, "drop"]


def _matches(guard: Guard, direction: Direction, verdict: str) -> list[str]:
    if guard.sealed:
        return []
    field = "saddr" if direction is Direction.INGRESS else "daddr"
    passages = [parsed_rule(rule) for rule in guard.rules if rule.direction is direction]
    return [
        f"ip {field} {passage.remote} {_protocol(passage)}{verdict}"
        for passage in dict.fromkeys(passages)
        if passage is not None
    ]


def _protocol(passage: Passage) -> str:
    if passage.all_ports:
        return "" if passage.protocol == "any" else f"meta l4proto {passage.protocol} "
    named = "{ tcp, udp }" if passage.protocol == "any" else passage.protocol
    return f"meta l4proto {named} th dport {passage.first}-{passage.last} "


def _chain(family: str, name: str, hook: str = "") -> list[str]:
    base = f" {{ type {hook}; policy drop; }}" if hook else ""
    return [f"add chain {family} crossport {name}{base}", f"flush chain {family} crossport {name}"]


def _rules(family: str, chain: str, rules: Iterable[str]) -> list[str]:
    return [f"add rule {family} crossport {chain} {rule}" for rule in rules]


def _unusable(rule: Rule, why: str, field: str) -> errors.Invalid:
    return errors.Invalid(
        "cloud.rule.unusable",
        f"The rule {rule.direction} {rule.protocol} {rule.first_port}-{rule.last_port} {rule.cidr} "
        f"cannot be kept. {why}",
        remedy="Write it as protocol, ports and an IPv4 range: tcp, 80, 80, 0.0.0.0/0.",
        field=f"rules.{field}",
    )
