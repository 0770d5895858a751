"""What the cloud has and what is still free: constructs, quotas, addresses, and the list of VMs."""

import dataclasses
import hashlib
import ipaddress
import os
from collections.abc import Iterable

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.network import need_mac
from crossport.clouds.local.spec import STORAGE_CLASSES
from crossport.clouds.local.state import Guest, Volume
from crossport.hypervisor.firmware import UEFI_CODE
from crossport.model.construct import Constructs, Flavor, Network, Quota
from crossport.model.vm import VM, Disk, DiskBus, Nic, NicModel
from crossport.units import size_text

__all__ = [
    "addressed",
    "constructs",
    "described",
    "flavor",
    "need_known",
    "need_room",
    "need_storage",
    "network",
    "settled",
    "sharers",
    "vms",
]

# The first addresses of a network are for gateways, probes and the like.
_FIRST_HOST = 10


def constructs(cloud: Installation, project: str = "") -> Constructs:
    """Return what a VM of ``project`` can be mapped to; raise NotFound ``project.unknown``."""
    spec = cloud.spec
    project = project or spec.projects[0]
    if project not in spec.projects:
        raise errors.NotFound(
            "project.unknown",
            f"{spec.name} has no project {project}.",
            field="project",
            remedy=f"Choose one of {', '.join(spec.projects)}.",
        )
    notes = cloud.fabric.notes
    if not cloud.as_root:
        notes += ("Guests are confined, but all run as the same user.",)
    return Constructs(
        cloud=spec.name,
        project=project,
        zones=spec.zones,
        flavors=spec.flavors,
        networks=spec.networks,
        security_groups=spec.security_groups,
        keys=spec.keys,
        storage_classes=STORAGE_CLASSES,
        free=_free(cloud, project, spec.quota),
        disk_free=disk_free(cloud),
        firmwares=("bios", "uefi") if UEFI_CODE.exists() else ("bios",),
        disk_buses=tuple(DiskBus),
        nic_models=tuple(NicModel),
        tpm=os.path.exists("/usr/bin/swtpm"),  # noqa: PTH110 - a question about the machine
        notes=notes,
    )


def disk_free(cloud: Installation) -> int:
    """Return the bytes that may still be promised: what is free, less what imports have yet to write."""
    facts = os.statvfs(cloud.layout.root)
    free = int(facts.f_bavail * facts.f_frsize * cloud.spec.overcommit)
    loose = [volume for volume in cloud.state.every(Volume) if not volume.vm_id]
    return max(0, free - sum(max(0, volume.size - _allocated(cloud, volume)) for volume in loose))


def vms(cloud: Installation, project: str = "") -> tuple[VM, ...]:
    """Return all VMs, sorted by name, then id."""
    all_vms = (described(cloud, guest) for guest in cloud.state.every(Guest))
    chosen = [vm for vm in all_vms if not project or vm.project == project]
    return tuple(sorted(chosen, key=lambda vm: (vm.name, vm.id)))


def described(cloud: Installation, guest: Guest) -> VM:
    """Return the VM as it is now, with the bytes that its disks really hold."""
    return dataclasses.replace(settled(cloud, guest), busy=cloud.busy.get(guest.vm.id, ""))


def settled(cloud: Installation, guest: Guest) -> VM:
    """Return the VM as who has just worked on it leaves it."""
    disks = tuple(_described_disk(cloud, guest, disk) for disk in guest.vm.disks)
    # The fence keeps what was wanted, for when it is taken away.
    autostart = guest.vm.autostart and not guest.vm.fenced
    return dataclasses.replace(guest.vm, disks=disks, autostart=autostart)


def sharers(cloud: Installation, guest: Guest, disk_id: str) -> list[Guest]:
    """Return the other guests that have the disk, too."""
    return [
        other
        for other in cloud.state.every(Guest)
        if other.vm.id != guest.vm.id and any(disk.id == disk_id for disk in other.vm.disks)
    ]


def _described_disk(cloud: Installation, guest: Guest, disk: Disk) -> Disk:
    volume = cloud.volume(disk.id)
    return dataclasses.replace(
        disk,
        allocated=_allocated(cloud, volume),
        seed=volume.seed,
        used_by=tuple(sorted(other.vm.name for other in sharers(cloud, guest, disk.id))),
    )


def _allocated(cloud: Installation, volume: Volume) -> int:
    try:
        return cloud.path(volume).stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def flavor(cloud: Installation, name: str) -> Flavor:
    """Return the flavor; raise NotFound ``flavor.unknown``."""
    for one in cloud.spec.flavors:
        if one.name == name:
            return one
    raise _unknown("flavor", name, (one.name for one in cloud.spec.flavors))


def need_known(cloud: Installation, vm: VM) -> None:
    """Raise NotFound, naming the field, for a construct of ``vm`` that the cloud does not have."""
    spec = cloud.spec
    constructs(cloud, vm.project)
    flavor(cloud, vm.flavor)
    if vm.zone and vm.zone not in spec.zones:
        raise _unknown("zone", vm.zone, spec.zones)
    groups = [group.name for group in spec.security_groups]
    for number, nic in enumerate(vm.nics):
        network(cloud, nic.network, f"nics[{number}].network")
        for group in nic.security_groups:
            if group not in groups:
                raise _unknown("security_group", group, groups)
    for key in vm.keys:
        if key not in {one.name for one in spec.keys}:
            raise _unknown("key", key, (one.name for one in spec.keys))


def network(cloud: Installation, name: str, field: str = "network") -> Network:
    """Return the network, which takes VMs; raise NotFound, or Invalid for a reserved one."""
    for one in cloud.spec.networks:
        if one.name == name:
            if one.reserved:
                raise errors.Invalid(
                    "network.reserved",
                    f"{name} is kept for moving VMs and takes none.",
                    field=field,
                    remedy="Choose another network.",
                )
            return one
    raise _unknown("network", name, (one.name for one in cloud.spec.networks if not one.reserved), field)


def need_room(cloud: Installation, project: str, *, vm: VM | None = None, disk: int = 0) -> None:
    """Raise Blocked if the project's quota, or the file system, does not take the VM or these bytes."""
    free = constructs(cloud, project).free
    wanted = (
        Quota(vms=1, cpus=vm.cpus, memory=vm.memory, disk=disk)
        if vm
        else Quota(vms=0, cpus=0, memory=0, disk=disk)
    )
    for field, told in (("vms", str), ("cpus", str), ("memory", size_text), ("disk", size_text)):
        if getattr(wanted, field) > max(0, getattr(free, field)):
            raise errors.Blocked(
                f"cloud.quota.{field}",
                f"A project of {cloud.spec.name} has {told(max(0, getattr(free, field)))} of {field} left; "
                f"it needs {told(getattr(wanted, field))}.",
                field=field,
                remedy="Delete what is no longer needed, or have the quota raised.",
            )
    if disk > disk_free(cloud):
        raise errors.Blocked(
            "cloud.disk.full",
            f"{cloud.spec.name} has {size_text(disk_free(cloud))} of disk left; it needs {size_text(disk)}.",
            field="disk",
            remedy="Free space on the cloud's file system.",
        )


def addressed(cloud: Installation, vm: VM) -> VM:
    """Return ``vm`` with MACs and addresses where it has none; raise Invalid or Conflict for wrong ones.

    Addresses of fenced VMs may be taken on purpose, because these are unplugged; nobody gets them by chance.
    """
    others = [guest.vm for guest in cloud.state.every(Guest) if guest.vm.id != vm.id]
    nics: list[Nic] = []
    for index, nic in enumerate(vm.nics):
        net = network(cloud, nic.network, f"nics[{index}].network")
        taken = _taken(others, nics, fenced=True)
        addresses = nic.addresses or (_free_address(net, taken),)
        for address in addresses:
            _need_fit(address, net, _taken(others, nics, fenced=False), f"nics[{index}].addresses")
        mac = nic.mac.lower() or _mac(f"{vm.id}/{index}")
        need_mac(mac, f"nics[{index}].mac")
        if any(mac == other.mac for one in others if not one.fenced for other in one.nics):
            raise errors.Conflict(
                "nic.mac.taken",
                f"Another VM has the hardware address {mac}.",
                field=f"nics[{index}].mac",
                remedy="Leave it empty to have a new one.",
            )
        nics.append(dataclasses.replace(nic, mac=mac, addresses=addresses))
    return dataclasses.replace(vm, nics=tuple(nics))


def _taken(others: Iterable[VM], nics: Iterable[Nic], *, fenced: bool) -> set[str]:
    """Return ``network/address`` of every address in use."""
    cards = [nic for vm in others if fenced or not vm.fenced for nic in vm.nics]
    return {f"{nic.network}/{one.partition('/')[0]}" for nic in [*cards, *nics] for one in nic.addresses}


def _free_address(net: Network, taken: set[str]) -> str:
    block = ipaddress.ip_network(net.cidr)
    for number in range(_FIRST_HOST, block.num_addresses - 1):
        address = block[number]
        if f"{net.name}/{address}" not in taken and str(address) != net.gateway:
            return f"{address}/{block.prefixlen}"
    raise errors.Blocked(
        "network.full",
        f"Network {net.name} has no free address.",
        field="network",
        remedy="Choose another network.",
    )


def _need_fit(address: str, net: Network, taken: set[str], field: str) -> None:
    plain, block = address.partition("/")[0], ipaddress.ip_network(net.cidr)
    try:
        host = ipaddress.ip_interface(address).ip
        # An address has one way to be written: what looks different must not be the same.
        fits = host in block and plain == str(host)
    except ValueError:
        fits = False
    unusable = (net.gateway, str(block.network_address), str(block.broadcast_address))
    if not fits or plain in unusable:
        raise errors.Invalid(
            "nic.address.wrong",
            f"{address} is no address for a VM in {net.name} ({net.cidr}).",
            field=field,
            remedy="Leave it empty to have a free one.",
        )
    if f"{net.name}/{plain}" in taken:
        raise errors.Conflict(
            "nic.address.taken",
            f"Another VM in {net.name} has {address}.",
            field=field,
            remedy="Leave it empty to have a free one.",
        )


def _mac(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _free(cloud: Installation, project: str, quota: Quota) -> Quota:
    mine = [guest.vm for guest in cloud.state.every(Guest) if guest.vm.project == project]
    disk = sum(volume.size for volume in cloud.state.every(Volume) if volume.project == project)
    return Quota(
        vms=quota.vms - len(mine),
        cpus=quota.cpus - sum(vm.cpus for vm in mine),
        memory=quota.memory - sum(vm.memory for vm in mine),
        disk=quota.disk - disk,
    )


def _unknown(what: str, name: str, known: Iterable[str], field: str = "") -> errors.NotFound:
    return errors.NotFound(
        f"{what}.unknown",
        f"There is no {what.replace('_', ' ')} {name}.",
        field=field or what,
        remedy=f"Choose one of {', '.join(known) or 'none: make one first'}.",
    )


def need_storage(name: str) -> None:
    """Raise NotFound for an unknown storage class."""
    if name not in STORAGE_CLASSES:
        raise _unknown("storage_class", name, STORAGE_CLASSES)
