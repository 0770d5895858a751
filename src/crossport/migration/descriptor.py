"""Whether the sealed descriptor, the sealed disks and what shall be started say the same."""

from collections.abc import Iterator

from crossport.certify.refusal import refused
from crossport.convert.appliance import Appliance
from crossport.convert.ovf_cloud import CloudFacts, shown
from crossport.convert.ovf_read import read_descriptor
from crossport.model.artifact import Role
from crossport.model.certified import Manifest
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM
from crossport.units import MIB

__all__ = ["require_described", "require_started"]

_DISK = "disk-"


def require_described(appliance: Appliance, manifest: Manifest) -> None:
    """Step 13: raise Refused unless the descriptor describes the sealed disks, in their order."""
    described = [(disk.id, disk.size) for disk in appliance.disks]
    sealed = [(disk.id, disk.size) for disk in manifest.disks if disk.id.startswith(_DISK)]
    if described != sealed:
        raise refused("seal.descriptor.disagrees", why=f"it describes {described}, the seal {sealed}")


def require_started(descriptor: bytes, new: NewVM) -> None:
    """Raise Refused (``seal.descriptor.disagrees``) unless ``new`` is what the descriptor describes.

    Names and networks are the target's own; the machine itself is as it was sealed. Only a network card whose
    address the target's cloud shall choose says none.
    """
    found = read_descriptor(descriptor).appliance
    for what, sealed, started in _facts(found, new.vm):
        if sealed != started:
            raise refused(
                "seal.descriptor.disagrees", why=f"it says {what} {sealed}; {started} shall be started"
            )
    volumes = [one.name for one in new.artifacts if one.role is Role.DISK]
    if volumes != [disk.id for disk in found.disks]:
        raise refused("seal.descriptor.disagrees", why=f"{volumes} shall be its disks")


def _facts(found: Appliance, vm: VM) -> Iterator[tuple[str, object, object]]:
    yield "firmware", str(found.firmware), str(vm.firmware)
    yield "processors", found.cpus, vm.cpus
    yield "memory", found.memory, vm.memory // MIB * MIB
    yield (
        "disks",
        [(disk.size, str(disk.bus)) for disk in found.disks],
        [(disk.size, str(disk.bus)) for disk in vm.disks],
    )
    yield "network cards", [str(nic.model) for nic in found.nics], [str(nic.model) for nic in vm.nics]
    for number, (sealed, nic) in enumerate(zip(found.nics, vm.nics, strict=False)):
        # Without an address its cloud chooses one.
        yield f"MAC of network card {number}", sealed.mac.lower(), (nic.mac or sealed.mac).lower()
    if found.cloud:
        yield from _cloud_facts(found.cloud, vm)


def _cloud_facts(sealed: CloudFacts, vm: VM) -> Iterator[tuple[str, object, object]]:
    """Addresses, security groups and keys are those of the target that they were mapped to."""
    yield "machine type", sealed.machine, shown(vm.machine)
    yield "TPM", sealed.tpm, vm.tpm
    yield "instance id", sealed.instance_id, shown(vm.instance_id)
    yield "tags", dict(sealed.tags), {shown(name): shown(value) for name, value in vm.tags.items()}
