"""Whatever two clouds offer: a proposal is never smaller, and nothing opens more without being asked."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from crossport.migration.finding import standing
from crossport.migration.mapping import propose
from crossport.migration.packets import beyond
from crossport.model.construct import Constructs, Flavor, Network, Rule, SecurityGroup
from crossport.model.mapping import Construct, MappingRules
from crossport.testing.world import ALPHA, BETA, web_vm
from crossport.units import GIB, MIB

FLAVORS = st.builds(
    Flavor,
    name=st.sampled_from(("s", "m", "l", "xl")),
    cpus=st.integers(1, 4),
    memory=st.sampled_from((128 * MIB, 256 * MIB, 512 * MIB)),
    disk=st.sampled_from((0, MIB, GIB, 2 * GIB)),
)
RULES = st.builds(
    Rule,
    protocol=st.sampled_from(("tcp", "udp")),
    first_port=st.sampled_from((22, 80)),
    last_port=st.just(80),
    cidr=st.sampled_from(("0.0.0.0/0", "10.0.0.0/8")),
)
GROUPS = st.builds(SecurityGroup, name=st.just("web"), rules=st.lists(RULES, max_size=3).map(tuple))
NETWORKS = st.builds(
    Network,
    name=st.sampled_from(("app", "frontend", "VMImportSubnet")),
    cidr=st.sampled_from(("10.10.0.0/24", "10.20.0.0/24")),
    reserved=st.booleans(),
)


@st.composite
def targets(draw: st.DrawFn) -> Constructs:
    """Clouds that offer more or less of what the VM needs."""
    return dataclasses.replace(
        BETA,
        flavors=tuple(draw(st.lists(FLAVORS, max_size=4, unique_by=lambda one: one.name))),
        networks=tuple(draw(st.lists(NETWORKS, max_size=3, unique_by=lambda one: one.name))),
        security_groups=(draw(GROUPS),) if draw(st.booleans()) else (),
        zones=draw(st.sampled_from(((), ("north",), ("east", "west")))),
        storage_classes=draw(st.sampled_from(((), ("standard",), ("fast",)))),
    )


@given(targets(), GROUPS)
def test_what_goes_without_asking_is_not_smaller_and_admits_no_more(target: Constructs, own: SecurityGroup):
    vm, source = web_vm(), dataclasses.replace(ALPHA, security_groups=(own,))
    mapping, findings = propose(vm, source, target, MappingRules())
    if standing(findings, ()):
        return
    flavor = next(one for one in target.flavors if one.name == mapping.target(Construct.FLAVOR, vm.flavor))
    assert (flavor.cpus >= vm.cpus, flavor.memory >= vm.memory) == (True, True)
    assert flavor.disk == 0 or flavor.disk >= ALPHA.flavors[0].disk
    group = next(
        one for one in target.security_groups if one.name == mapping.target(Construct.SECURITY_GROUP, "web")
    )
    assert not beyond(group, own)
    network = next(one for one in target.networks if one.name == mapping.target(Construct.NETWORK, "app"))
    assert not network.reserved


@given(targets())
def test_everything_is_mapped_or_a_finding_says_why_not(target: Constructs):
    vm = web_vm()
    mapping, findings = propose(vm, ALPHA, target, MappingRules())
    wanted = {
        (Construct.FLAVOR, vm.flavor),
        (Construct.NETWORK, "app"),
        (Construct.SECURITY_GROUP, "web"),
        (Construct.KEY, "ann"),
        (Construct.ZONE, vm.zone),
    }
    missing = wanted - {(choice.construct, choice.source) for choice in mapping.choices}
    blockers = {finding.code.split(".")[1].replace("-", "_") for finding in standing(findings, ())}
    assert {construct.value for construct, _ in missing} <= blockers


@given(targets(), FLAVORS)
def test_a_flavor_that_a_person_chose_smaller_is_asked_about(target: Constructs, chosen: Flavor):
    target = dataclasses.replace(target, flavors=(chosen,))
    _, findings = propose(web_vm(), ALPHA, target, MappingRules(flavor=chosen.name))
    small = chosen.memory < 256 * MIB or 0 < chosen.disk < GIB
    assert ("mapping.flavor.smaller" in [finding.code for finding in standing(findings, ())]) is small


def test_a_name_in_the_rules_that_the_vm_does_not_use_stands_in_the_way():
    rules = MappingRules(keys={"bob": "bob"}, addresses={"52:54:00:00:00:99": "10.20.0.9"})
    _, findings = propose(web_vm(), ALPHA, BETA, rules)
    unused = [finding.subject for finding in findings if finding.code == "mapping.rule.unused"]
    assert unused == ["key bob", "address 52:54:00:00:00:99"]


def test_an_address_that_is_none_is_a_finding_and_no_accident():
    rules = MappingRules(addresses={"52:54:00:00:00:01": "not an address"})
    _, findings = propose(web_vm(), ALPHA, BETA, rules)
    assert "mapping.address.invalid" in [finding.code for finding in standing(findings, ())]


def test_a_key_with_the_same_fingerprint_wins_over_another_key_of_the_same_name():
    other = dataclasses.replace(BETA.keys[0], name="ann", fingerprint="SHA256:two")
    target = dataclasses.replace(BETA, keys=(other, *BETA.keys))
    mapping, _ = propose(web_vm(), ALPHA, target, MappingRules())
    assert mapping.target(Construct.KEY, "ann") == "ann-at-beta"


def test_a_network_that_is_isolated_is_not_mapped_to_an_open_one_unasked():
    source = dataclasses.replace(
        ALPHA, networks=(dataclasses.replace(ALPHA.networks[0], isolated=True), *ALPHA.networks[1:])
    )
    _, findings = propose(web_vm(), source, BETA, MappingRules())
    assert "mapping.network.open" in [finding.code for finding in standing(findings, ())]
