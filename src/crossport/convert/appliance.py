"""A virtual machine as a package describes it: enough to make it again, and no cloud's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from crossport.convert.ovf_cloud import CloudFacts, cloud_facts
from crossport.model.artifact import Moved
from crossport.model.construct import Constructs
from crossport.model.inspection import GuestFacts
from crossport.model.vm import VM, DiskBus, Firmware, NicModel

__all__ = ["Appliance", "ApplianceDisk", "ApplianceNic", "appliance_of", "described"]


@dataclass(frozen=True, slots=True)
class ApplianceDisk:
    """One disk in the guest's order. ``file`` is its name in the package, empty for a new, empty disk.

    ``size`` is what the guest sees and ``file_size`` the file's length, in bytes; ``format`` is the URI
    that says what the file is.
    """

    id: str
    size: int
    file: str = ""
    file_size: int | None = None
    format: str = ""
    bus: DiskBus = DiskBus.VIRTIO


@dataclass(frozen=True, slots=True)
class ApplianceNic:
    """One network card in the guest's order. An empty ``mac`` lets the target choose."""

    network: str
    mac: str = ""
    model: NicModel = NicModel.VIRTIO


@dataclass(frozen=True, slots=True)
class Appliance:
    """The described machine. ``memory`` is bytes; 0 processors or bytes mean that the package does not
    say. ``cloud``: what the cloud that it comes from knew of it besides, and ``guest``: what is in it, where
    that is told."""

    name: str
    cpus: int = 0
    memory: int = 0
    firmware: Firmware = Firmware.BIOS
    disks: tuple[ApplianceDisk, ...] = ()
    nics: tuple[ApplianceNic, ...] = ()
    annotation: str = ""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    cloud: CloudFacts | None = None
    guest: GuestFacts | None = None


def appliance_of(vm: VM) -> Appliance:
    """Return what of ``vm`` travels in a package. Its disks are named, their files are the exporter's to add.

    The volume with the first-boot configuration stays behind: it may hold secrets, and the target makes its
    own.
    """
    disks = tuple(
        ApplianceDisk(id=f"disk{number}", size=disk.size, bus=disk.bus)
        for number, disk in enumerate((disk for disk in vm.disks if not disk.seed), 1)
    )
    nics = tuple(ApplianceNic(nic.network, nic.mac, nic.model) for nic in vm.nics)
    return Appliance(vm.name, vm.cpus, vm.memory, vm.firmware, disks, nics)


def described(vm: VM, moved: Sequence[Moved], constructs: Constructs) -> Appliance:
    """Return what of ``vm`` travels when its disks are streamed: named as their artifacts, and as large.

    ``constructs`` are those of its cloud.
    """
    found, sizes = appliance_of(vm), {one.artifact: one.size for one in moved}
    names = [(f"disk-{index}", disk) for index, disk in enumerate(found.disks)]
    disks = tuple(replace(disk, id=name, size=sizes.get(name, disk.size)) for name, disk in names)
    return replace(found, disks=disks, cloud=cloud_facts(vm, constructs))
