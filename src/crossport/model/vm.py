"""A virtual machine as every cloud can describe it: hardware, disks, NICs, and who it belongs to.

Sizes are bytes. Names are the cloud's own; nothing here promises that a name is unique beyond one project.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from crossport.model.record import record

__all__ = ["VM", "Disk", "DiskBus", "Firmware", "Nic", "NicModel", "PowerState", "name_fault"]

_LONGEST_NAME = 200


class Firmware(StrEnum):
    """What starts the guest's boot loader."""

    BIOS = "bios"
    UEFI = "uefi"


class DiskBus(StrEnum):
    """The bus on which the guest sees a disk."""

    VIRTIO = "virtio"
    VIRTIO_SCSI = "virtio-scsi"
    SATA = "sata"
    IDE = "ide"


class NicModel(StrEnum):
    """The network card that the guest sees."""

    VIRTIO = "virtio"
    E1000 = "e1000"
    E1000E = "e1000e"
    VMXNET3 = "vmxnet3"
    RTL8139 = "rtl8139"


class PowerState(StrEnum):
    """Whether the guest runs. A suspended VM keeps its memory in a file and uses no processor."""

    RUNNING = "running"
    STOPPED = "stopped"
    SUSPENDED = "suspended"


@record()
class Disk:
    """One disk of a VM. ``id`` is the cloud's volume id, ``allocated`` the bytes that really hold data."""

    id: str
    name: str
    size: int
    bus: DiskBus = DiskBus.VIRTIO
    boot: bool = False
    allocated: int | None = None
    storage_class: str = ""
    snapshots: tuple[str, ...] = ()
    backing: str = ""
    used_by: tuple[str, ...] = ()
    seed: bool = False
    """Whether this is a ``cidata`` volume that configures the guest at first boot."""


@record()
class Nic:
    """One network card, in the order in which the guest sees them. Addresses are with prefix length.

    ``floating`` are addresses of the cloud that lead to it, which the guest does not know of.
    """

    mac: str
    network: str
    model: NicModel = NicModel.VIRTIO
    addresses: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    floating: tuple[str, ...] = ()


@record()
class VM:
    """One virtual machine. ``busy`` says what the cloud does with it now, empty when nothing.

    ``halted`` says why a running guest stands still, empty while it executes.
    """

    id: str
    name: str
    project: str
    zone: str
    flavor: str
    cpus: int
    memory: int
    firmware: Firmware = Firmware.BIOS
    machine: str = ""
    tpm: bool = False
    power: PowerState = PowerState.STOPPED
    fenced: bool = False
    quarantined: bool = False
    autostart: bool = False
    """Whether the cloud starts it by itself when its machine has booted. Never while it is fenced."""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    keys: tuple[str, ...] = ()
    instance_id: str = ""
    """What cloud-init calls instance-id: kept across a move so that host keys stay."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    busy: str = ""
    halted: str = ""
    special: tuple[str, ...] = ()
    """What the guest has that nothing here has a word for, in its cloud's: no other would give it."""


def name_fault(name: str) -> str:
    """Return what keeps ``name`` from being a VM's, empty when nothing does.

    What a terminal or a log would not show as it is could be made to look like another VM.
    """
    if not name.strip():
        return "is empty"
    if len(name) > _LONGEST_NAME:
        return f"has more than {_LONGEST_NAME} characters"
    if not name.isprintable():
        return "has characters that cannot be shown"
    return "begins or ends with a blank" if name != name.strip() else ""
