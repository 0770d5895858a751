"""What one security group admits beyond another, held against an oracle that judges packet by packet."""

import dataclasses
import ipaddress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport.migration.finding import standing
from crossport.migration.mapping import propose
from crossport.migration.packets import ANY, MOST_RULES, REST, Packets, beyond
from crossport.model.construct import Direction, Rule, SecurityGroup
from crossport.model.mapping import MappingRules
from crossport.testing.world import ALPHA, BETA, web_vm

IN, OUT = Direction.INGRESS, Direction.EGRESS
BLOCKS = ("0.0.0.0/0", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.1/32", "10.0.0.1/30", "::/0", "fd00::/126")
REMOTES = ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "9.255.255.255", "fd00::1", "fd00::4")
EDGES = (0, 1, 21, 22, 23, 79, 80, 81, 443, 65534, 65535)


@dataclass(frozen=True)
class Packet:
    direction: Direction
    protocol: str
    port: int
    remote: str


PACKETS = st.builds(
    Packet,
    direction=st.sampled_from(Direction),
    protocol=st.sampled_from(("tcp", "udp", "icmp", "gre")),
    port=st.sampled_from(EDGES),
    remote=st.sampled_from(REMOTES),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from(("tcp", "udp", "icmp", "any")))
    first, last = sorted((draw(st.sampled_from(EDGES)), draw(st.sampled_from(EDGES))))
    if protocol == "icmp" or draw(st.booleans()):
        first, last = 0, 65535
    return Rule(
        direction=draw(st.sampled_from(Direction)),
        protocol=protocol,
        first_port=first,
        last_port=last,
        cidr=draw(st.sampled_from(BLOCKS)),
    )


GROUPS = st.builds(SecurityGroup, name=st.just("web"), rules=st.lists(rules(), max_size=6).map(tuple))


def admits(group: SecurityGroup, packet: Packet) -> bool:
    """The oracle: one packet against one rule after the other, as a firewall does it."""
    if packet.direction is OUT and all(rule.direction is IN for rule in group.rules):
        return True
    return any(passes(rule, packet) for rule in group.rules)


def passes(rule: Rule, packet: Packet) -> bool:
    if rule.direction is not packet.direction:
        return False
    if ipaddress.ip_address(packet.remote) not in ipaddress.ip_network(rule.cidr, strict=False):
        return False
    if (rule.first_port, rule.last_port) == (0, 65535):
        return rule.protocol in {"any", packet.protocol}
    if packet.protocol not in {"tcp", "udp"} or rule.protocol not in {"any", packet.protocol}:
        return False
    return rule.first_port <= packet.port <= rule.last_port


def tells(passage: Packets, packet: Packet) -> bool:
    remote = ipaddress.ip_address(packet.remote)
    named = packet.protocol if packet.protocol != "gre" else REST
    return (
        passage.direction is packet.direction
        and passage.protocol in {ANY, named}
        and passage.space == str(remote.version)
        and passage.ports[0] <= packet.port <= passage.ports[1]
        and passage.addresses[0] <= int(remote) <= passage.addresses[1]
    )


def corner(passage: Packets, end: int) -> Packet:
    make = ipaddress.IPv4Address if passage.space == "4" else ipaddress.IPv6Address
    protocol = {ANY: "gre", REST: "gre"}.get(passage.protocol, passage.protocol)
    return Packet(passage.direction, protocol, passage.ports[end], str(make(passage.addresses[end])))


@given(GROUPS, GROUPS, PACKETS)
def test_a_packet_is_told_once_when_one_group_admits_it_and_the_other_does_not(
    one: SecurityGroup, other: SecurityGroup, packet: Packet
):
    told = [passage for passage in beyond(one, other) if tells(passage, packet)]
    assert len(told) == (admits(one, packet) and not admits(other, packet))


@given(GROUPS, GROUPS)
def test_nothing_is_told_that_is_no_difference(one: SecurityGroup, other: SecurityGroup):
    for passage in beyond(one, other):
        for packet in (corner(passage, 0), corner(passage, 1)):
            assert admits(one, packet)
            assert not admits(other, packet)


@given(GROUPS, GROUPS, PACKETS)
def test_a_group_that_admits_more_is_asked_about_and_one_that_does_not_is_not(
    own: SecurityGroup, theirs: SecurityGroup, packet: Packet
):
    source = dataclasses.replace(ALPHA, security_groups=(own,))
    target = dataclasses.replace(BETA, security_groups=(theirs,))
    asked = "mapping.security-group.wider" in [
        one.code for one in standing(propose(web_vm(), source, target, MappingRules())[1], ())
    ]
    assert asked is bool(beyond(theirs, own))
    assert asked or admits(own, packet) or not admits(theirs, packet)


def rule(
    protocol: str, first: int = 0, last: int = 65535, cidr: str = "0.0.0.0/0", way: Direction = IN
) -> Rule:
    return Rule(direction=way, protocol=protocol, first_port=first, last_port=last, cidr=cidr)


def group(*given_rules: Rule) -> SecurityGroup:
    return SecurityGroup(name="web", rules=given_rules)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (
            group(rule("tcp", 80, 80)),
            group(rule("tcp", 80, 81)),
            [],
        ),
        (
            group(rule("tcp", 80, 81)),
            group(rule("tcp", 80, 80), rule("tcp", 81, 81)),
            [],
        ),
        (
            group(rule("tcp", 22, 80, "10.0.0.0/8")),
            group(rule("tcp", 80, 80), rule("tcp", 22, 30, "10.0.0.0/9")),
            ["ingress tcp 22-30 from 10.128.0.0/9", "ingress tcp 31-79 from 10.0.0.0/8"],
        ),
        (
            group(rule("any")),
            group(rule("tcp"), rule("udp"), rule("icmp")),
            ["ingress every other protocol from 0.0.0.0/0"],
        ),
        (
            group(),
            group(rule("tcp", 443, 443, way=OUT)),
            [
                "egress icmp to 0.0.0.0/0",
                "egress tcp 0-442 to 0.0.0.0/0",
                "egress tcp 444-65535 to 0.0.0.0/0",
                "egress udp to 0.0.0.0/0",
                "egress every other protocol to 0.0.0.0/0",
                "egress any to ::/0",
            ],
        ),
        (
            group(rule("tcp", 22, 22, "10.0.0.0/30")),
            group(rule("tcp", 22, 22, "10.0.0.1/32")),
            ["ingress tcp 22 from 10.0.0.0/32", "ingress tcp 22 from 10.0.0.2/31"],
        ),
        (
            group(rule("tcp", 22, 22, "10.0.0.0/30")),
            group(rule("tcp", 22, 22, "10.0.0.0/32")),
            ["ingress tcp 22 from 10.0.0.1-10.0.0.3"],
        ),
        (
            group(rule("tcp", 22, 22, "10.0.0.8/29")),
            group(rule("tcp", 22, 22, "10.0.0.11/32"), rule("tcp", 22, 22, "10.0.0.12/30")),
            ["ingress tcp 22 from 10.0.0.8-10.0.0.10"],
        ),
        (
            group(rule("tcp", 22, 22, "10.0.0.0/29")),
            group(rule("tcp", 22, 22, "10.0.0.0/31"), rule("tcp", 22, 22, "10.0.0.6/31")),
            ["ingress tcp 22 from 10.0.0.2-10.0.0.5"],
        ),
        (group(rule("any", cidr="group:web")), group(rule("any")), ["ingress any from group:web"]),
        (group(rule("any", cidr="group:web")), group(rule("any", cidr="group:web")), []),
        (
            group(rule("6", 22, 22), rule("ipv6-icmp", cidr="::/0")),
            group(rule("tcp"), rule("any", cidr="::/0")),
            [],
        ),
        (group(rule("icmp")), group(rule("icmp", 8, 0)), ["ingress icmp from 0.0.0.0/0"]),
        (group(rule("icmp", 8, 0)), group(rule("icmp")), []),
        (group(rule("esp")), group(rule("any")), []),
    ],
)
def test_the_difference_is_told_in_words(one: SecurityGroup, other: SecurityGroup, told: list[str]):
    assert [str(passage) for passage in beyond(one, other)] == told


def test_a_group_of_which_the_source_tells_nothing_counts_as_closed():
    _, findings = propose(web_vm(), dataclasses.replace(ALPHA, security_groups=()), BETA, MappingRules())
    wider = next(one for one in findings if one.code == "mapping.security-group.wider")
    assert "egress any to 0.0.0.0/0" in wider.text


def asked(own: SecurityGroup, found: SecurityGroup) -> str:
    """Return what the finding about a wider group says."""
    source, target = (
        dataclasses.replace(ALPHA, security_groups=(dataclasses.replace(own, name="http-server"),)),
        dataclasses.replace(BETA, security_groups=(dataclasses.replace(found, name="http-server"),)),
    )
    vm = web_vm()
    nic = dataclasses.replace(vm.nics[0], security_groups=("http-server",))
    _, findings = propose(dataclasses.replace(vm, nics=(nic,)), source, target, MappingRules())
    return next(one.text for one in findings if one.code == "mapping.security-group.wider")


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_group_that_takes_long_to_compare_is_asked_about_and_not_compared(which: str):
    """A partner tells its groups: some hundred rules of the worst kind take minutes."""
    many = group(*(rule("any", cidr=f"10.0.{number}.0/24") for number in range(MOST_RULES + 1)))
    few = group(rule("tcp", 22, 22), rule("tcp", 22, 22, way=OUT))
    text = asked(*((many, few) if which == "source" else (few, many)))
    assert f"has {MOST_RULES + 1} rules, more than {MOST_RULES}" in text


def test_of_very_many_differences_the_first_are_told_and_how_many_more_there_are():
    many = group(*(rule("tcp", 2 * number, 2 * number) for number in range(80)))
    text = asked(group(), many)
    assert text.count("also admits ingress tcp") == 50
    assert "also admits 30 more such ranges" in text
