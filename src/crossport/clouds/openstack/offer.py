"""What a project of OpenStack offers a VM: flavors, networks, zones, groups, keys, quotas, in our words."""

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from crossport.clouds.openstack.server import Thing
from crossport.model.construct import (
    EXPORT_SUBNET,
    IMPORT_SUBNET,
    NO_EGRESS,
    Direction,
    Flavor,
    KeyPair,
    Network,
    Quota,
    Rule,
    SecurityGroup,
)
from crossport.model.vm import DiskBus, NicModel
from crossport.units import GIB, MIB

__all__ = [
    "DISK_BUSES",
    "NIC_MODELS",
    "flavors",
    "free",
    "group_names",
    "groups",
    "keys",
    "network_names",
    "networks",
]

DISK_BUSES = tuple(map(str, DiskBus))
NIC_MODELS = tuple(map(str, NicModel))
"""What Nova with QEMU gives a guest, by the words of the image."""
UNLIMITED_COUNT = 1_000_000
UNLIMITED_SIZE = 1 << 60
"""For a quota of -1: more than any project uses."""


def flavors(found: Iterable[Thing]) -> tuple[Flavor, ...]:
    """Return the flavors that can be used, by name."""
    usable = [one for one in found if not one.get("is_disabled")]
    return tuple(
        Flavor(
            name=one["name"],
            cpus=int(one["vcpus"]),
            memory=int(one["ram"]) * MIB,
            disk=int(one.get("disk") or 0) * GIB,
        )
        for one in sorted(usable, key=lambda one: str(one["name"]))
    )


def network_names(found: Sequence[Thing], subnets: Sequence[Thing]) -> dict[str, str]:
    """Return under what names subnets, and networks that have none, are known here, by their ids.

    A network with one IPv4 subnet is known by its name alone, and takes its IPv6 subnets along; further ones
    are ``network/subnet``. A name that two networks have is replaced by the id.
    """
    names: dict[str, str] = {}
    own = _unique(found)
    for one in found:
        inside = sorted((s for s in subnets if s["network_id"] == one["id"]), key=_age)
        fourth = [subnet for subnet in inside if subnet["ip_version"] == 4] or inside[:1]
        inner = _unique(fourth)
        names[one["id"]] = own[one["id"]]
        for subnet in inside:
            alone = len(fourth) == 1 or subnet["ip_version"] == 6
            names[subnet["id"]] = own[one["id"]] + ("" if alone else f"/{inner[subnet['id']]}")
    return names


def networks(
    found: Sequence[Thing], subnets: Sequence[Thing], names: Mapping[str, str]
) -> tuple[Network, ...]:
    """Return the networks that a card can be in, by name: not an outside one, unless it is shared."""
    usable = {one["id"] for one in found if one.get("is_shared") or not one.get("is_router_external")}
    known: dict[str, Network] = {}
    for subnet in sorted(subnets, key=lambda one: (one["ip_version"], _age(one))):
        name = names.get(subnet["id"], "")
        if subnet["network_id"] in usable and name not in known:
            known[name] = Network(
                name=name,
                cidr=subnet["cidr"],
                gateway=subnet.get("gateway_ip") or "",
                reserved=name in {EXPORT_SUBNET, IMPORT_SUBNET},
            )
    return tuple(known[name] for name in sorted(known))


def group_names(found: Sequence[Thing]) -> dict[str, str]:
    """Return the groups' names by id; of a name that two have, the ids instead."""
    return _unique(found)


def groups(found: Sequence[Thing], names: Mapping[str, str]) -> tuple[SecurityGroup, ...]:
    """Return the groups with their rules, by name. One without a rule for egress admits none in OpenStack."""

    def rules(group: Thing) -> tuple[Rule, ...]:
        own = {_rule(rule, names) for rule in group.get("security_group_rules") or ()}
        silent = not any(rule.direction is Direction.EGRESS for rule in own)
        return tuple(sorted(own | ({NO_EGRESS} if silent else set()), key=str))

    told = (SecurityGroup(name=names[one["id"]], rules=rules(one)) for one in found)
    return tuple(sorted(told, key=lambda one: one.name))


def _rule(rule: Thing, names: Mapping[str, str]) -> Rule:
    """Return the rule. Members of another group are told as ``group:NAME`` where addresses stand else."""
    every = "::/0" if rule.get("ethertype") == "IPv6" else "0.0.0.0/0"
    member = rule.get("remote_group_id") or rule.get("remote_address_group_id")
    first, last = rule.get("port_range_min"), rule.get("port_range_max")
    return Rule(
        direction=Direction(rule["direction"]),
        protocol=str(rule.get("protocol") or "any"),
        first_port=int(first) if first is not None else 0,
        last_port=int(last) if last is not None else 65535,
        cidr=f"group:{names.get(member, member)}" if member else rule.get("remote_ip_prefix") or every,
    )


def keys(found: Iterable[Thing]) -> tuple[KeyPair, ...]:
    """Return the SSH keys, by name, with OpenSSH's fingerprint: Nova tells an MD5, which is none of it."""
    told = ((str(one["name"]), str(one.get("public_key") or "")) for one in found)
    return tuple(
        KeyPair(name=name, public_key=key, fingerprint=fingerprint)
        for name, key in sorted(told)
        if (fingerprint := _fingerprint(key))
    )


def _fingerprint(key: str) -> str:
    """Return the key's fingerprint, empty for what is no SSH key (Nova also keeps certificates)."""
    words = key.split()
    if len(words) < 2 or key.startswith("-"):
        return ""
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        return ""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def free(compute: Thing, volume: Thing | None) -> Quota:
    """Return what the quotas leave. Without volumes no quota limits disks."""

    def left(most: object, used: object, unit: int, unlimited: int) -> int:
        if not isinstance(most, int) or most < 0:
            return unlimited
        return (most - (used if isinstance(used, int) else 0)) * unit

    disks = volume or {}
    return Quota(
        vms=left(compute.get("instances"), compute.get("instances_used"), 1, UNLIMITED_COUNT),
        cpus=left(compute.get("total_cores"), compute.get("total_cores_used"), 1, UNLIMITED_COUNT),
        memory=left(compute.get("total_ram"), compute.get("total_ram_used"), MIB, UNLIMITED_SIZE),
        disk=left(
            disks.get("max_total_volume_gigabytes"),
            disks.get("total_gigabytes_used"),
            GIB,
            UNLIMITED_SIZE,
        ),
    )


def _unique(found: Sequence[Thing]) -> dict[str, str]:
    count = Counter(one.get("name") for one in found)
    return {
        one["id"]: one["name"] if one.get("name") and count[one["name"]] == 1 else one["id"] for one in found
    }


def _age(one: Thing) -> tuple[str, str]:
    return str(one.get("created_at")), str(one["id"])
