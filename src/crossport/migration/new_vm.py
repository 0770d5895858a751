"""Turn a person's request for a VM into its description, checked against what the cloud offers."""

from collections.abc import Iterable

from crossport import errors
from crossport.model.construct import Constructs
from crossport.model.request import VmRequest
from crossport.model.vm import VM, Disk, DiskBus, Firmware, Nic, NicModel, name_fault
from crossport.spi.cloud import RUN_TAG

__all__ = ["described", "need_name"]


def need_name(name: str, vms: Iterable[VM], cloud: str, run: str) -> None:
    """Raise Invalid for a name that no VM may have, Conflict for one's that ``run`` did not make."""
    if fault := name_fault(name):
        raise errors.Invalid(
            "vm.name.unusable", f"The VM's name {fault}.", field="name", remedy="Choose another name."
        )
    if any(vm.name == name and vm.tags.get(RUN_TAG) != run for vm in vms):
        raise errors.Conflict(
            "vm.name.taken",
            f"{cloud} has a VM {name} already.",
            field="name",
            remedy=f"Choose another name, or look at that one with: crossport vm show {cloud} {name}",
        )


def described(request: VmRequest, constructs: Constructs) -> VM:
    """Return the VM; raise Invalid with the field that names something the cloud does not have.

    The cloud gives MACs, addresses and, from the image, the size of the disk.
    """
    flavor = next((one for one in constructs.flavors if one.name == request.flavor), None)
    _known("flavor", (request.flavor,), (one.name for one in constructs.flavors))
    usable = [one.name for one in constructs.networks if not one.reserved]
    _known("networks", request.networks, usable)
    _known("security_groups", request.security_groups, (one.name for one in constructs.security_groups))
    _known("keys", request.keys, (one.name for one in constructs.keys))
    zone = request.zone or next(iter(constructs.zones), "")
    _known("zone", (zone,), constructs.zones)
    _known("firmware", (request.firmware,), (one.value for one in Firmware))
    _known("disk_bus", (request.disk_bus,), (one.value for one in DiskBus))
    _known("nic_model", (request.nic_model,), (one.value for one in NicModel))
    assert flavor is not None  # noqa: S101 - _known has raised otherwise
    return VM(
        id="",
        name=request.name,
        project=constructs.project,
        zone=zone,
        flavor=flavor.name,
        cpus=flavor.cpus,
        memory=flavor.memory,
        firmware=Firmware(request.firmware),
        tpm=request.tpm,
        autostart=request.autostart,
        disks=(
            Disk(
                id="",
                name="root",
                size=0,
                bus=DiskBus(request.disk_bus),
                boot=True,
                storage_class=next(iter(constructs.storage_classes), ""),
            ),
        ),
        nics=tuple(
            Nic(
                mac="",
                network=network,
                model=NicModel(request.nic_model),
                security_groups=request.security_groups,
            )
            for network in request.networks
        ),
        keys=request.keys,
        tags=request.tags,
    )


def _known(field: str, names: tuple[str, ...], offered: Iterable[str]) -> None:
    there = tuple(offered)
    for name in names:
        if name not in there:
            raise errors.Invalid(
                f"vm.{field.replace('_', '-')}.unknown",
                f"There is no {field.replace('_', ' ').removesuffix('s')} {name}.",
                field=field,
                remedy=f"Choose out of: {', '.join(there) or '(none)'}.",
            )
