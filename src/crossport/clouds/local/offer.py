"""What the cloud offers beyond VMs: keys, networks, security groups; and what carries the tag of a run."""

import base64
import binascii
import dataclasses
import hashlib
import ipaddress

from crossport import errors
from crossport.clouds.local.inbound import drop_imported
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.network import layout, parsed_rule
from crossport.clouds.local.provision import refresh_ports, remove_guest
from crossport.clouds.local.state import Guest, Volume
from crossport.model.construct import KeyPair, Network, SecurityGroup
from crossport.model.run import Act, Created, LedgerState

__all__ = ["add_group", "add_key", "add_network", "checked_key", "need_fit", "remove", "tagged"]


def add_key(cloud: Installation, key: KeyPair) -> KeyPair:
    """Take a public key in, replacing one of the same name."""
    key = checked_key(key)
    spec = cloud.spec
    others = tuple(one for one in spec.keys if one.name != key.name)
    cloud.change_spec(dataclasses.replace(spec, keys=(*others, key)))
    return key


def checked_key(key: KeyPair) -> KeyPair:
    """Return the key with its fingerprint worked out; raise Invalid for what is no key."""
    words = key.public_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise errors.Invalid(
            "key.public.wrong",
            "This is no OpenSSH public key.",
            field="public_key",
            remedy="Give one line: type, key, comment.",
        ) from error
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return KeyPair(name=key.name, public_key=" ".join(words), fingerprint=f"SHA256:{digest}")


async def add_network(cloud: Installation, network: Network) -> Network:
    """Make a network; raise Conflict for a name that is used, Invalid for a wrong or overlapping range."""
    spec = cloud.spec
    if any(one.name == network.name for one in spec.networks):
        raise errors.Conflict(
            "network.exists",
            f"There is a network {network.name} already.",
            field="name",
            remedy="Give each network a name of its own.",
        )
    need_fit(network, spec.networks)
    networks = (*spec.networks, network)
    await cloud.fabric.ensure(networks)
    cloud.change_spec(dataclasses.replace(spec, networks=networks))
    return network


def need_fit(network: Network, others: tuple[Network, ...], field: str = "cidr") -> None:
    """Raise Invalid when the network cannot be one of a cloud that has the ``others``."""
    if not _fits(network, others):
        raise errors.Invalid(
            "network.range.wrong",
            f"{network.cidr} is no range that a network of this cloud can have.",
            field=field,
            remedy="Give a range that overlaps no other network, and a gateway inside it.",
        )
    layout.router_address(network)


def _fits(network: Network, others: tuple[Network, ...]) -> bool:
    try:
        block = ipaddress.ip_network(network.cidr)
        if network.gateway and ipaddress.ip_address(network.gateway) not in block:
            return False
    except ValueError:
        return False
    return not any(ipaddress.ip_network(one.cidr).overlaps(block) for one in others)


async def add_group(cloud: Installation, group: SecurityGroup) -> SecurityGroup:
    """Make or replace a security group; it is in force for running guests when this returns.

    Raise Invalid for a rule that cannot be kept, before anything has changed.
    """
    for rule in group.rules:
        parsed_rule(rule)
    spec = cloud.spec
    others = tuple(one for one in spec.security_groups if one.name != group.name)
    cloud.change_spec(dataclasses.replace(spec, security_groups=(*others, group)))
    for guest in cloud.state.every(Guest):
        if any(group.name in nic.security_groups for nic in guest.vm.nics):
            async with cloud.working(guest.vm.id, "changing rules of"):
                await refresh_ports(cloud, cloud.guest(guest.vm.id))
    return group


def tagged(cloud: Installation, run: str) -> tuple[Created, ...]:
    """Return the VMs and loose volumes that the run made."""
    name = cloud.spec.name
    guests = [guest for guest in cloud.state.every(Guest) if guest.run == run]
    volumes = [one for one in cloud.state.every(Volume) if one.run == run and not one.vm_id]
    made = LedgerState.CREATED
    return (
        *(
            Created(run=run, cloud=name, kind="vm", name=guest.vm.name, id=guest.vm.id, state=made)
            for guest in guests
        ),
        *(Created(run=run, cloud=name, kind="volume", name=v.name, id=v.id, state=made) for v in volumes),
    )


async def remove(cloud: Installation, act: Act, thing: Created) -> None:
    """Remove a thing of the run, known by id or by name. Not an error when it is gone."""
    cloud.state.admit(act)
    if thing.kind == "vm":
        for guest in cloud.state.every(Guest):
            if _meant(thing, guest.vm.id, guest.vm.name, guest.run):
                _need_own(thing, guest.run)
                await remove_guest(cloud, act, guest.vm.id)
    elif thing.kind == "volume":
        for volume in cloud.state.every(Volume):
            if _meant(thing, volume.id, volume.name, volume.run):
                _need_own(thing, volume.run)
                await drop_imported(cloud, volume)
    # Seeds and ports are parts of their VM here, and go with it.


def _meant(thing: Created, thing_id: str, name: str, run: str) -> bool:
    return thing.id == thing_id if thing.id else (thing.name in {name, thing_id} and thing.run == run)


def _need_own(thing: Created, run: str) -> None:
    if run != thing.run:
        raise errors.Refused(
            "cloud.thing.foreign",
            f"{thing.kind} {thing.name or thing.id} was not made by run {thing.run}.",
            remedy="Only what a run made is removed for it.",
        )
