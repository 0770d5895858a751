"""Which packets a security group admits, and exactly which of them another group does not.

Rules are compared by what they admit, never by how they are written: two rules may say what one says, and a
group without any rule for egress admits all of it. Pure.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from crossport.model.construct import Direction, Rule, SecurityGroup
from crossport.model.record import record

__all__ = ["ANY", "MOST_RULES", "REST", "Packets", "beyond"]

ANY = "any"
REST = "every other protocol"
"""What only a rule for any protocol admits, next to the protocols that either group names."""

MOST_RULES = 100
"""Of a group that is compared. The work grows with the third power; real groups have some ten rules."""

_LAST_PORT = 65535
_ALIASES = {"1": "icmp", "58": "icmp", "icmpv6": "icmp", "ipv6-icmp": "icmp", "6": "tcp", "17": "udp"}
_ALL_EGRESS = (
    Rule(direction=Direction.EGRESS, cidr="0.0.0.0/0"),
    Rule(direction=Direction.EGRESS, cidr="::/0"),
)
_Span = tuple[int, int]
"""First and last, both included."""


@record()
class Packets:
    """Packets of ``protocol`` to the ports ``ports``, from or to the addresses ``addresses`` of ``space``.

    ``space`` is ``4`` or ``6``, or a remote end that is no address (``group:NAME``), equal to itself only.
    """

    direction: Direction
    protocol: str
    space: str
    ports: tuple[int, int]
    addresses: tuple[int, int]

    def __str__(self) -> str:
        first, last = self.ports
        ports = "" if self.ports == (0, _LAST_PORT) else f" {first}" if first == last else f" {first}-{last}"
        word = "from" if self.direction is Direction.INGRESS else "to"
        return f"{self.direction} {self.protocol}{ports} {word} {self._remote()}"

    def _remote(self) -> str:
        if self.space not in {"4", "6"}:
            return self.space
        first, last = (
            (ipaddress.IPv4Address(one) if self.space == "4" else ipaddress.IPv6Address(one))
            for one in self.addresses
        )
        size = self.addresses[1] - self.addresses[0] + 1
        whole = size & (size - 1) == 0 and self.addresses[0] % size == 0
        return f"{first}/{first.max_prefixlen - size.bit_length() + 1}" if whole else f"{first}-{last}"


def beyond(group: SecurityGroup, other: SecurityGroup) -> tuple[Packets, ...]:
    """Return what ``group`` admits and ``other`` does not: disjoint, complete, in a stable order.

    Whoever does not know where they come from bounds their rules before (`MOST_RULES`).
    """
    mine, theirs = _rules(group), _rules(other)
    named = {_protocol(rule) for rule in (*mine, *theirs)} - {ANY} | {"tcp", "udp", "icmp"}
    admitted, known = list(_admitted(mine, named)), list(_admitted(theirs, named))
    found: list[Packets] = []
    for direction in Direction:
        for space in sorted({one.space for one in admitted if one.direction is direction}):
            found += _beyond_in(direction, space, admitted, known, (*sorted(named), REST))
    return tuple(found)


def _beyond_in(
    direction: Direction,
    space: str,
    admitted: Sequence[Packets],
    known: Sequence[Packets],
    protocols: Sequence[str],
) -> list[Packets]:
    """The difference in one space; where it is the same for every protocol it is told once."""

    def of(passages: Sequence[Packets], protocol: str) -> list[Packets]:
        key = (direction, space, protocol)
        return [one for one in passages if (one.direction, one.space, one.protocol) == key]

    rest = {one: _subtracted(of(admitted, one), of(known, one)) for one in protocols}
    if len({tuple(areas) for areas in rest.values()}) == 1:
        rest = {ANY: rest[REST]}
    return [
        Packets(direction=direction, protocol=protocol, space=space, ports=ports, addresses=addresses)
        for protocol, areas in rest.items()
        for ports, addresses in areas
    ]


def _rules(group: SecurityGroup) -> tuple[Rule, ...]:
    silent = not any(rule.direction is Direction.EGRESS for rule in group.rules)
    return (*group.rules, *(_ALL_EGRESS if silent else ()))


def _protocol(rule: Rule) -> str:
    """The protocol under one name. A kind of ICMP, told where ports stand else, is a protocol of its own."""
    name = _ALIASES.get(rule.protocol.lower(), rule.protocol.lower())
    if name == "icmp" and not _all_ports(rule):
        return f"icmp type {rule.first_port} code {rule.last_port}"
    return name


def _all_ports(rule: Rule) -> bool:
    return (rule.first_port, rule.last_port) == (0, _LAST_PORT)


def _admitted(rules: Iterable[Rule], named: set[str]) -> Iterator[Packets]:
    for rule in rules:
        space, addresses = _remote(rule.cidr)
        for protocol in _covered(rule, named):
            portless = protocol.startswith("icmp")
            ports = (0, _LAST_PORT) if portless else (rule.first_port, rule.last_port)
            yield Packets(
                direction=rule.direction, protocol=protocol, space=space, ports=ports, addresses=addresses
            )


def _covered(rule: Rule, named: set[str]) -> Iterable[str]:
    protocol = _protocol(rule)
    if protocol == ANY:
        return (*named, REST) if _all_ports(rule) else ("tcp", "udp")
    if protocol == "icmp":
        return [one for one in named if one.startswith("icmp")]
    return (protocol,)


def _remote(cidr: str) -> tuple[str, _Span]:
    try:
        block = ipaddress.ip_network(cidr, strict=False)
    except ValueError:  # members of a group: no addresses that this site could compare
        return cidr, (0, 0)
    return str(block.version), (int(block.network_address), int(block.broadcast_address))


def _subtracted(admitted: Sequence[Packets], known: Sequence[Packets]) -> list[tuple[_Span, _Span]]:
    """Ports and addresses in ``admitted`` and not in ``known``, between the ports where either changes."""
    both = (*admitted, *known)
    cuts = sorted({port for one in both for port in (one.ports[0], one.ports[1] + 1)})
    areas: list[tuple[int, int, list[_Span]]] = []
    for first, after in pairwise(cuts):
        left = _without(_at(admitted, first), _at(known, first))
        if areas and areas[-1][1] == first - 1 and areas[-1][2] == left:
            areas[-1] = (areas[-1][0], after - 1, left)
        else:
            areas.append((first, after - 1, left))
    return [((first, last), span) for first, last, left in areas for span in left]


def _at(passages: Iterable[Packets], port: int) -> list[_Span]:
    """The addresses that are admitted to one port, joined where they touch."""
    spans: list[_Span] = []
    for first, last in sorted(one.addresses for one in passages if one.ports[0] <= port <= one.ports[1]):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return spans


def _without(spans: Iterable[_Span], taken: Sequence[_Span]) -> list[_Span]:
    left: list[_Span] = []
    for first, last in spans:
        start = first
        for low, high in taken:
            if high < start or low > last:
                continue
            if low > start:
                left.append((start, low - 1))
            start = high + 1
        if start <= last:
            left.append((start, last))
    return left
