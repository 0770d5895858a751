"""Turn a person's request for a VM into its description, checked against what the cloud offers."""

from collections.abc import Iterable

from crossport import errors
from crossport.model.construct import Constructs
from crossport.model.request import VmRequest
from crossport.model.vm import VM, Disk, DiskBus, Firmware, Nic, NicModel

__all__ = ["described"]


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
