"""The compiled rules admit exactly what the model admits: random groups, ports and packets, two judges.

One judge follows the nftables commands (`filter`), the other reads the model. That the kernel agrees with
the first is tested with real packets in tests/lab/network.
"""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.network.filter import Filter, Packet

from crossport import errors
from crossport.clouds.local.network import ruleset
from crossport.clouds.local.network.layout import SEATS
from crossport.clouds.local.network.ruleset import Guard
from crossport.model.construct import Direction, Rule, SecurityGroup

# Time says nothing here: the machine may be busy.
calm = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

FRONT, BACK = ipaddress.ip_network("10.20.0.0/28"), ipaddress.ip_network("10.21.0.0/28")
BRIDGE_OF = {FRONT: "nfront", BACK: "nback"}
OUTSIDE = ["10.30.0.5", "100.64.0.1", "192.0.2.7"]
# A gateway that reads here, one of another cloud that writes, and one there that reads.
SEAT, PEER, TWIN = str(SEATS[2]), str(SEATS[70]), str(SEATS[66])
GATEWAYS = (SEAT, PEER, TWIN)
MACS = [f"52:54:00:00:00:0{number}" for number in range(4)]
OWN = [("10.20.0.4", "10.20.0.5"), ("10.20.0.6",), ("10.21.0.4",), ()]

remotes = st.sampled_from(
    ["0.0.0.0/0", "10.20.0.0/28", "10.20.0.4/32", "10.0.0.0/8", "192.0.2.0/24", "100.64.0.0/10", "::/0"]
)
numbers = st.integers(0, 8)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    first, last = sorted((draw(numbers), draw(numbers)))
    whole = draw(st.booleans())
    return Rule(
        direction=draw(st.sampled_from(Direction)),
        protocol=draw(st.sampled_from(["tcp", "udp", "icmp", "any"])),
        first_port=0 if whole else first,
        last_port=65535 if whole else last,
        cidr=draw(remotes),
    )


groups = st.builds(SecurityGroup, name=st.sampled_from("abc"), rules=st.lists(rules(), max_size=4).map(tuple))
ports = st.tuples(*(st.tuples(st.lists(groups, max_size=2), st.booleans()) for _ in OWN))
Ports = Sequence[tuple[Sequence[SecurityGroup], bool]]

addresses = st.sampled_from(
    ["10.20.0.4", "10.20.0.5", "10.20.0.6", "10.20.0.9", "10.21.0.4", *OUTSIDE, SEAT, PEER, TWIN]
)
packets = st.builds(
    Packet,
    source=addresses,
    target=addresses,
    protocol=st.sampled_from(["tcp", "udp", "icmp", "sctp"]),
    port=numbers | st.sampled_from([1023, 1024, 65535]),
)


def device(address: str) -> str:
    """Return the router's device towards an address."""
    for net, bridge in BRIDGE_OF.items():
        if ipaddress.ip_address(address) in net:
            return bridge
    return "export" if address == SEAT else "wan0"


def routed(packet: Packet) -> Packet:
    """Return the packet as the forward hook sees it."""
    return Packet(
        source=packet.source,
        target=packet.target,
        protocol=packet.protocol,
        port=packet.port,
        into=device(packet.source),
        out=device(packet.target),
        state=packet.state,
    )


def compiled(chosen: Ports) -> Filter:
    """Return the filter for these ports of one cloud."""
    made = Filter()
    made.follow(skeleton())
    for number in range(len(OWN)):
        made.follow(ruleset.port_rules(guard(number, chosen)))
    return made


def skeleton() -> str:
    return ruleset.skeleton(BRIDGE_OF.values(), seats={"export": ipaddress.IPv4Address(SEAT)}, wan="wan0")


def guard(number: int, chosen: Ports) -> Guard:
    own_groups, sealed = chosen[number]
    return Guard(
        tap=f"t{number}",
        mac=MACS[number],
        addresses=tuple(map(ipaddress.IPv4Address, OWN[number])),
        rules=ruleset.rules_of(own_groups),
        sealed=sealed,
    )


def model_admits(packet: Packet, chosen: Ports) -> bool:
    """Say from the model alone whether a new connection from outside the router passes."""
    if packet.source in GATEWAYS or packet.target in GATEWAYS:
        worker = packet.protocol == "tcp" and packet.port >= 1024
        return worker and {packet.source, packet.target} == {SEAT, PEER}
    sender, receiver = port_of(packet.source), port_of(packet.target)
    inside = any(ipaddress.ip_address(packet.target) in net for net in BRIDGE_OF)
    if sender is None and (packet.source.startswith(("10.20.", "10.21.")) or not inside):
        return False  # an address of ours that nobody has; transit
    if sender is not None and not side_admits(packet, chosen[sender], Direction.EGRESS, packet.target):
        return False
    if not inside:
        return True
    return receiver is not None and side_admits(packet, chosen[receiver], Direction.INGRESS, packet.source)


def port_of(address: str) -> int | None:
    return next((number for number, own in enumerate(OWN) if address in own), None)


def side_admits(
    packet: Packet, port: tuple[Sequence[SecurityGroup], bool], direction: Direction, remote: str
) -> bool:
    own_groups, sealed = port
    if sealed:
        return False
    silent = direction is Direction.EGRESS and any(
        all(rule.direction is Direction.INGRESS for rule in group.rules) for group in own_groups
    )
    return silent or any(
        rule.direction is direction and rule_admits(packet, rule, remote)
        for group in own_groups
        for rule in group.rules
    )


def rule_admits(packet: Packet, rule: Rule, remote: str) -> bool:
    if ipaddress.ip_address(remote) not in ipaddress.ip_network(rule.cidr):
        return False
    within = rule.first_port <= packet.port <= rule.last_port
    whole = (rule.first_port, rule.last_port) == (0, 65535)
    match rule.protocol:
        case "any":
            return whole or (packet.protocol in ("tcp", "udp") and within)
        case "icmp":
            return packet.protocol == "icmp"
        case _:
            return packet.protocol == rule.protocol and within


@calm
@given(chosen=ports, asked=st.lists(packets, min_size=20, max_size=40))
def test_the_compiled_rules_admit_exactly_what_the_model_admits(chosen: Ports, asked: list[Packet]) -> None:
    made = compiled(chosen)
    for packet in asked:
        if packet.source == packet.target:
            continue  # it never leaves its machine
        seen = routed(packet)
        assert made.admits("forward", seen) is model_admits(packet, chosen), seen


@calm
@given(chosen=ports, packet=packets)
def test_answers_pass_unless_an_end_is_sealed(chosen: Ports, packet: Packet) -> None:
    answer = routed(Packet(source=packet.source, target=packet.target, state="established"))
    sealed = any(
        end is not None and chosen[end][1] for end in (port_of(packet.source), port_of(packet.target))
    )
    assert compiled(chosen).admits("forward", answer) is not sealed


@calm
@given(
    chosen=ports,
    tap=st.sampled_from(["t0", "t1", "t2", "t3", "t9"]),
    mac=st.sampled_from(MACS),
    sender_mac=st.sampled_from(MACS),
    source=st.sampled_from(["10.20.0.4", "10.20.0.5", "10.20.0.6", "10.21.0.4", "0.0.0.0", "10.20.0.1"]),  # noqa: S104
    kind=st.sampled_from(["ip", "arp", "ip6", "8021q"]),
)
def test_a_tap_lets_in_only_frames_with_the_ports_own_addresses(
    chosen: Ports, tap: str, mac: str, sender_mac: str, source: str, kind: str
) -> None:
    frame = Packet(source=source, target="10.20.0.1", into=tap, mac=mac, kind=kind, sender_mac=sender_mac)
    number = int(tap[1:])
    own = number < len(OWN) and mac == MACS[number] and bool(OWN[number])
    admitted = own and (
        (kind == "ip" and source in OWN[number])
        or (kind == "arp" and sender_mac == mac and source in (*OWN[number], "0.0.0.0"))  # noqa: S104
    )
    assert compiled(chosen).admits("prerouting", frame) is admitted


@calm
@given(chosen=ports, later=ports)
def test_changed_ports_end_as_if_made_anew(chosen: Ports, later: Ports) -> None:
    made = compiled(chosen)
    made.follow(skeleton())
    for number, own in enumerate(OWN):
        sealed = list(map(ipaddress.IPv4Address, own)) if chosen[number][1] else []
        stays = chosen[number][1] and later[number][1]
        made.follow(
            ruleset.port_removed(f"t{number}", addresses=(), sealed=[] if stays else sealed, chains=False)
            + ruleset.port_rules(guard(number, later))
        )
    assert made == compiled(later)


def test_a_removed_port_leaves_nothing() -> None:
    chosen: Ports = [([], True), ([], False), ([], False), ([], False)]
    made = Filter()
    made.follow(skeleton())
    empty = Filter()
    empty.follow(skeleton())
    made.follow(ruleset.port_rules(guard(0, chosen)))
    own = list(map(ipaddress.IPv4Address, OWN[0]))
    made.follow(ruleset.port_removed("t0", addresses=own, sealed=own))
    assert made == empty


def test_only_the_routers_echo_and_answers_reach_the_router() -> None:
    made = compiled([([SecurityGroup(name="a")], False), ([], False), ([], False), ([], True)])

    def to_router(source: str, **more: object) -> bool:
        asked = {"protocol": "icmp", "echo": True, **more}
        return made.admits(
            "input",
            Packet(source, "10.20.0.1", into=device(source), local=True, **asked),  # pyright: ignore[reportArgumentType]
        )

    assert to_router("10.20.0.4")
    assert not to_router("10.20.0.6")
    assert not to_router("10.20.0.4", protocol="tcp", echo=False)
    assert to_router("10.20.0.4", protocol="tcp", echo=False, state="established")
    assert not to_router("192.0.2.7")


def test_the_router_reaches_guests_and_begins_nothing_outside() -> None:
    made = compiled([([], True), ([], False), ([], False), ([], False)])
    assert made.admits("output", Packet("10.20.0.1", "10.20.0.4", out="nfront"))
    assert not made.admits("output", Packet("10.20.0.1", "192.0.2.7", out="wan0"))
    assert not made.admits("output", Packet("10.20.0.1", SEAT, out="export"))


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(protocol="tcp }; flush ruleset"), "rules.protocol"),
        (Rule(cidr="10.0.0.0/8 accept"), "rules.cidr"),
        (Rule(first_port=90, last_port=80), "rules.first_port"),
        (Rule(last_port=65536), "rules.first_port"),
    ],
    ids=["protocol", "range", "order", "number"],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_field(rule: Rule, field: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        ruleset.parsed_rule(rule)
    assert (caught.value.code, caught.value.field) == ("cloud.rule.unusable", field)


@pytest.mark.parametrize("mac", ["53:54:00:00:00:01", "52:54:00:00:00", "52:54:00:00:00:01 accept"])
def test_a_mac_that_no_card_has_is_refused(mac: str) -> None:
    with pytest.raises(errors.Invalid):
        Guard(tap="t0", mac=mac, addresses=(), rules=(), sealed=False)
