"""What a project offers is told in our words: unique names, rules, fingerprints, what quotas leave."""

from typing import Any

from crossport.clouds.openstack import offer
from crossport.migration.packets import beyond
from crossport.model.construct import Direction, Quota, Rule, SecurityGroup

GIB = 1 << 30


def network(name: str, number: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"n{number}", "name": name, "is_shared": False, "is_router_external": False, **changes}


def subnet(name: str, of: str, cidr: str, version: int = 4) -> dict[str, Any]:
    return {"id": f"{of}-{name}", "name": name, "network_id": of, "cidr": cidr, "ip_version": version}


def names(networks: list[dict[str, Any]], subnets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = offer.networks(networks, subnets, offer.network_names(networks, subnets))
    return [(one.name, one.cidr) for one in found]


def test_a_network_is_known_by_its_name_and_with_several_subnets_by_theirs_too():
    nets = [network("front", 1), network("back", 2)]
    subnets = [
        subnet("a", "n1", "10.0.0.0/24"),
        subnet("six", "n1", "fd00::/64", 6),
        subnet("one", "n2", "10.1.0.0/24"),
        subnet("two", "n2", "10.2.0.0/24"),
    ]
    assert names(nets, subnets) == [
        ("back/one", "10.1.0.0/24"),
        ("back/two", "10.2.0.0/24"),
        ("front", "10.0.0.0/24"),
    ]


def test_two_networks_of_one_name_are_known_by_their_ids():
    nets = [network("lan", 1), network("lan", 2)]
    subnets = [subnet("a", "n1", "10.0.0.0/24"), subnet("a", "n2", "10.1.0.0/24")]
    assert [name for name, _ in names(nets, subnets)] == ["n1", "n2"]


def test_an_outside_network_takes_no_cards_unless_it_is_shared():
    nets = [network("out", 1, is_router_external=True), network("all", 2, is_router_external=True)]
    nets[1]["is_shared"] = True
    subnets = [subnet("a", "n1", "192.0.2.0/24"), subnet("a", "n2", "198.51.100.0/24")]
    assert [name for name, _ in names(nets, subnets)] == ["all"]


def test_rules_are_told_with_members_of_groups_by_name():
    rules = [
        {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80,
         "port_range_max": 81, "remote_ip_prefix": "192.0.2.0/24"},
        {"direction": "ingress", "ethertype": "IPv6", "remote_group_id": "g1"},
        {"direction": "egress", "ethertype": "IPv6"},
    ]  # fmt: skip
    groups = [{"id": "g1", "name": "web", "security_group_rules": rules}]
    (found,) = offer.groups(groups, offer.group_names(groups))
    assert set(found.rules) == {
        Rule(protocol="tcp", first_port=80, last_port=81, cidr="192.0.2.0/24"),
        Rule(cidr="group:web"),
        Rule(direction=Direction.EGRESS, cidr="::/0"),
    }


def test_a_group_without_a_rule_for_egress_admits_none_as_in_openstack():
    """Here such a group would admit all: what a target's group admits more would not be asked about."""
    ingress = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
    (closed,) = offer.groups(
        [{"id": "1", "name": "closed", "security_group_rules": [ingress]}], {"1": "closed"}
    )
    silent = SecurityGroup(name="closed", rules=(Rule(protocol="tcp"),))
    assert beyond(closed, silent) == ()
    assert [str(one) for one in beyond(silent, closed)] == ["egress any to 0.0.0.0/0", "egress any to ::/0"]


def test_a_key_has_the_fingerprint_that_ssh_keygen_tells():
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1Jr8zfzEEmkfAlOo2RGm3rm5x7bvnwWKH2nZQoHV1F operator"
    certificate = {"name": "x509", "public_key": "-----BEGIN CERTIFICATE-----\nMIIB"}
    (found,) = offer.keys([{"name": "operator", "public_key": key}, certificate])
    assert (found.name, found.fingerprint) == (
        "operator",
        "SHA256:tRQ5WFiZ3we6Wyz78YY04GdV3AJsixa/PbSTSa1NMTM",
    )


def test_quotas_leave_what_is_not_used_and_minus_one_is_no_limit():
    compute = {
        "instances": 10,
        "instances_used": 3,
        "total_cores": -1,
        "total_cores_used": 9,
        "total_ram": 1024,
        "total_ram_used": 256,
    }
    volumes = {"max_total_volume_gigabytes": 100, "total_gigabytes_used": 40}
    assert offer.free(compute, volumes) == Quota(
        vms=7, cpus=offer.UNLIMITED_COUNT, memory=768 << 20, disk=60 * GIB
    )
    assert offer.free(compute, None).disk == offer.UNLIMITED_SIZE


def test_a_disabled_flavor_is_not_offered():
    size = {"vcpus": 1, "ram": 64, "disk": 1}
    told = [{"name": "b", **size}, {"name": "a", **size}, {"name": "c", "is_disabled": True, **size}]
    assert [one.name for one in offer.flavors(told)] == ["a", "b"]
