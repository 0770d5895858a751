"""Describe a server of OpenStack as a VM: its hardware, disks, cards and names, from what its services tell.

Nova knows flavor, state and order of the cards, Glance or Cinder the hardware words (`hw_…`) of what it was
booted from, Cinder its volumes, Neutron its ports. Nothing is asked here; everything is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from ipaddress import ip_network
from typing import Any

from crossport.model.record import record
from crossport.model.vm import VM, Disk, DiskBus, Firmware, Nic, NicModel, PowerState
from crossport.units import GIB, MIB

__all__ = ["FENCE_REASON", "LOCAL_DISKS", "Surroundings", "Thing", "described", "table"]

Thing = Mapping[str, Any]
"""What openstacksdk tells of one thing, by its own names."""

FENCE_REASON = "crossport-fence"
"""How the reason of a lock begins that keeps a moved server off."""
LOCAL_DISKS = "local"
"""The storage class of disks that are no volumes: they live and end with their server."""

_BUSES = {"": DiskBus.VIRTIO, "virtio": DiskBus.VIRTIO, "sata": DiskBus.SATA, "ide": DiskBus.IDE}
_MODELS = {
    "": NicModel.VIRTIO,
    "virtio": NicModel.VIRTIO,
    "e1000": NicModel.E1000,
    "e1000e": NicModel.E1000E,
    "VirtualE1000": NicModel.E1000,
    "VirtualE1000e": NicModel.E1000E,
    "vmxnet3": NicModel.VMXNET3,
    "VirtualVmxnet3": NicModel.VMXNET3,
    "rtl8139": NicModel.RTL8139,
}
_STATES = {
    "ACTIVE": PowerState.RUNNING,
    "PAUSED": PowerState.RUNNING,
    "PASSWORD": PowerState.RUNNING,
    "REBOOT": PowerState.RUNNING,
    "HARD_REBOOT": PowerState.RUNNING,
    "RESCUE": PowerState.RUNNING,
    "SUSPENDED": PowerState.SUSPENDED,
}
_SPECIAL_SPECS = {"pci_passthrough:alias", "resources:VGPU", "hw:mem_encryption"}
_SETTLED = {"ACTIVE", "PAUSED", "SHUTOFF", "SUSPENDED", "RESCUE", "ERROR"}
_NOVA_RUNNING = 1


@record()
class Surroundings:
    """What servers refer to. ``images`` by id, as Glance tells them; names by id where they are names."""

    project: str
    images: Mapping[str, Thing] = field(default_factory=dict[str, Thing])
    flavors: Mapping[str, Thing] = field(default_factory=dict[str, Thing])
    volumes: tuple[Thing, ...] = ()
    snapshots: tuple[Thing, ...] = ()
    ports: tuple[Thing, ...] = ()
    floating: tuple[Thing, ...] = ()
    subnets: Mapping[str, Thing] = field(default_factory=dict[str, Thing])
    networks: Mapping[str, str] = field(default_factory=dict[str, str])
    """The names under which the subnets, and the networks without one, are offered, by their ids."""
    groups: Mapping[str, str] = field(default_factory=dict[str, str])


def described(server: Thing, around: Surroundings) -> VM:
    """Return the server as a VM."""
    flavor = _flavor(server, around)
    words = _words(server, around)
    specs = table(flavor, "extra_specs")
    status = str(server.get("status") or "")
    return VM(
        id=server["id"],
        name=server["name"],
        project=around.project,
        zone=server.get("availability_zone") or "",
        flavor=flavor.get("original_name") or flavor.get("name") or flavor.get("id") or "",
        cpus=int(flavor.get("vcpus") or 0),
        memory=int(flavor.get("ram") or 0) * MIB,
        firmware=Firmware.UEFI if words.get("hw_firmware_type") == "uefi" else Firmware.BIOS,
        machine=words.get("hw_machine_type", ""),
        tpm=bool(specs.get("hw:tpm_version") or words.get("hw_tpm_version")),
        power=_power(server, status),
        fenced=bool(server.get("is_locked"))
        and str(server.get("locked_reason") or "").startswith(FENCE_REASON),
        disks=_disks(server, flavor, words, around),
        nics=_nics(server, words, around),
        keys=(server["key_name"],) if server.get("key_name") else (),
        instance_id=server["id"],
        tags={**dict.fromkeys(server.get("tags") or (), ""), **(server.get("metadata") or {})},
        busy=_busy(server, status),
        halted=_halted(server, status),
        special=_special(server, specs, words, around),
    )


def table(thing: Thing, key: str) -> Thing:
    """Return the table that the thing has under the key, empty when it has none."""
    return thing.get(key) or {}


def _flavor(server: Thing, around: Surroundings) -> Thing:
    told = table(server, "flavor")
    if told.get("vcpus") is not None:
        return told  # as it was when the server was made, even if the flavor is gone since
    return around.flavors.get(str(told.get("id")), told)


def _words(server: Thing, around: Surroundings) -> dict[str, str]:
    """Return the `hw_…` words of what the server was booted from."""
    image = _image(server)
    if image:
        found: Thing = around.images.get(image, {})
    else:
        volumes = _volumes(server, around)
        found = table(volumes[0], "volume_image_metadata") if volumes else {}
    return {name: str(value) for name, value in found.items() if str(name).startswith("hw_")}


def _image(server: Thing) -> str:
    return str(table(server, "image").get("id") or "")


def _power(server: Thing, status: str) -> PowerState:
    if status == "ERROR" or status not in {*_STATES, *_SETTLED}:
        running = server.get("power_state") == _NOVA_RUNNING
        return PowerState.RUNNING if running else PowerState.STOPPED
    return _STATES.get(status, PowerState.STOPPED)


def _busy(server: Thing, status: str) -> str:
    if server.get("task_state"):
        return str(server["task_state"])
    return "" if status in _SETTLED else status.lower().replace("_", " ")


def _halted(server: Thing, status: str) -> str:
    match status:
        case "PAUSED":
            return "paused"
        case "RESCUE":
            return "in rescue, started from another disk than its own"
        case "ERROR":
            reason = table(server, "fault").get("message") or "Nova tells no reason"
            return f"in error: {str(reason)[:200]}"
        case _:
            return ""


def _disks(server: Thing, flavor: Thing, words: Mapping[str, str], around: Surroundings) -> tuple[Disk, ...]:
    bus = _bus(words)
    image = _image(server)
    found: list[Disk] = []
    if image:
        about: Thing = around.images.get(image, {})
        size = int(flavor.get("disk") or 0) * GIB
        size = size or int(about.get("virtual_size") or about.get("size") or 0)
        found.append(_local(server, "root", size, bus, boot=True))
    for number, volume in enumerate(_volumes(server, around)):
        found.append(_volume(server, volume, around, bus=bus, boot=not image and number == 0))
    for kind, size in (
        ("ephemeral", int(flavor.get("ephemeral") or 0) * GIB),
        ("swap", int(flavor.get("swap") or 0) * MIB),
    ):
        if size:
            found.append(_local(server, kind, size, bus))
    return tuple(found)


def _local(server: Thing, kind: str, size: int, bus: DiskBus, *, boot: bool = False) -> Disk:
    return Disk(
        id=f"{server['id']}:{kind}",
        name=f"{server['name']}-{kind}",
        size=size,
        bus=bus,
        boot=boot,
        storage_class=LOCAL_DISKS,
    )


def _volume(server: Thing, volume: Thing, around: Surroundings, *, bus: DiskBus, boot: bool) -> Disk:
    return Disk(
        id=volume["id"],
        name=volume.get("name") or volume["id"],
        size=int(volume["size"]) * GIB,
        bus=bus,
        boot=boot,
        storage_class=volume.get("volume_type") or "",
        snapshots=tuple(
            one.get("name") or one["id"] for one in around.snapshots if one["volume_id"] == volume["id"]
        ),
        used_by=tuple(
            one["server_id"] for one in volume.get("attachments") or () if one["server_id"] != server["id"]
        ),
    )


def _volumes(server: Thing, around: Surroundings) -> list[Thing]:
    """Return the server's volumes, the one it boots from first, then in the order of their devices."""

    def device(volume: Thing) -> str:
        return next(
            str(one.get("device") or "") for one in volume["attachments"] if one["server_id"] == server["id"]
        )

    found = [
        volume
        for volume in around.volumes
        if server["id"] in [one["server_id"] for one in volume.get("attachments") or ()]
    ]
    root = str(server.get("root_device_name") or "")  # told to administrators only; else vda comes first
    return sorted(found, key=lambda one: (device(one) != root, len(device(one)), device(one), one["id"]))


def _bus(words: Mapping[str, str]) -> DiskBus:
    word = words.get("hw_disk_bus", "")
    if word == "scsi":
        return DiskBus.VIRTIO_SCSI
    return _BUSES.get(word, DiskBus.VIRTIO)  # what is none of them is told as special


def _special(server: Thing, specs: Thing, words: Mapping[str, str], around: Surroundings) -> tuple[str, ...]:
    """Return what the guest has beyond what a VM can be described with."""
    found: list[str] = []
    bus, scsi = words.get("hw_disk_bus", ""), words.get("hw_scsi_model", "")
    if bus == "scsi" and scsi != "virtio-scsi":
        found.append(f"hw_scsi_model={scsi or 'the default'}")
    elif bus != "scsi" and bus not in _BUSES:
        found.append(f"hw_disk_bus={bus}")
    if words.get("hw_vif_model", "") not in _MODELS:
        found.append(f"hw_vif_model={words['hw_vif_model']}")
    found += [f"{name}={specs[name]}" for name in sorted(specs) if name in _SPECIAL_SPECS]
    for port in around.ports:
        if port.get("device_id") == server["id"]:
            kind = port.get("binding_vnic_type") or "normal"
            found += [] if kind == "normal" else [f"a card of type {kind}"]
            found += [] if port.get("is_port_security_enabled", True) else ["a card without port security"]
    return tuple(found)


def _nics(server: Thing, words: Mapping[str, str], around: Surroundings) -> tuple[Nic, ...]:
    """Return the cards in the order in which Nova tells their addresses, which is that of its own list."""
    ports = [port for port in around.ports if port.get("device_id") == server["id"]]
    told = [
        str(one.get("OS-EXT-IPS-MAC:mac_addr") or "")
        for addresses in table(server, "addresses").values()
        for one in addresses
    ]
    place = {mac: number for number, mac in reversed(list(enumerate(told)))}
    ports.sort(
        key=lambda port: (
            place.get(port["mac_address"], len(told)),
            str(port.get("created_at")),
            port["id"],
        )
    )
    model = _MODELS.get(words.get("hw_vif_model", ""), NicModel.VIRTIO)
    return tuple(_nic(port, model, around) for port in ports)


def _nic(port: Thing, model: NicModel, around: Surroundings) -> Nic:
    fixed: Sequence[Thing] = port.get("fixed_ips") or ()
    subnets = [one["subnet_id"] for one in fixed if one["subnet_id"] in around.networks]
    return Nic(
        mac=port["mac_address"],
        network=around.networks.get([*subnets, port["network_id"]][0], port["network_id"]),
        model=model,
        addresses=tuple(_with_prefix(one, around) for one in fixed),
        floating=tuple(
            one["floating_ip_address"] for one in around.floating if one.get("port_id") == port["id"]
        ),
        security_groups=tuple(
            around.groups.get(group, group) for group in port.get("security_group_ids") or ()
        ),
    )


def _with_prefix(fixed: Thing, around: Surroundings) -> str:
    subnet = around.subnets.get(fixed["subnet_id"])
    if subnet is None:
        return str(fixed["ip_address"])
    return f"{fixed['ip_address']}/{ip_network(subnet['cidr']).prefixlen}"
