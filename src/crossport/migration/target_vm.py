"""The VM as the target shall make it: pure translation of a description by a mapping."""

import dataclasses

from crossport.model.artifact import Export
from crossport.model.mapping import Construct, Mapping
from crossport.model.run import MigrationRequest
from crossport.model.vm import VM, Disk, Nic, PowerState
from crossport.spi.cloud import RoomFor

__all__ = ["landed", "rooms_for", "target_vm"]


def rooms_for(export: Export, mapping: Mapping) -> tuple[RoomFor, ...]:
    """Return the room that the export's artifacts need at the target, in their order."""
    classes = {
        f"disk-{index}": mapping.target(Construct.STORAGE_CLASS, disk.storage_class)
        for index, disk in enumerate(_own_disks(export.vm))
    }
    return tuple(
        RoomFor(
            name=artifact.name,
            role=artifact.role,
            size=artifact.ref.size,
            storage_class=classes.get(artifact.name, ""),
        )
        for artifact in export.artifacts
    )


def target_vm(vm: VM, mapping: Mapping, request: MigrationRequest, run: str) -> VM:
    """Return ``vm`` with the target's names. The cloud sets ids, MACs and addresses that are empty."""
    name = request.name or vm.name
    return dataclasses.replace(
        vm,
        id="",
        name=f"{name}-test-{run[:8]}" if request.test else name,
        project=mapping.target(Construct.PROJECT, ""),
        zone=mapping.target(Construct.ZONE, vm.zone),
        flavor=mapping.target(Construct.FLAVOR, vm.flavor),
        power=PowerState.RUNNING,
        fenced=False,
        busy="",
        disks=tuple(_disk(disk, mapping) for disk in _own_disks(vm)),
        nics=tuple(_nic(nic, mapping) for nic in vm.nics),
        keys=tuple(mapping.target(Construct.KEY, key) for key in vm.keys),
    )


def landed(mapping: Mapping, vm: VM, new: VM) -> Mapping:
    """Return ``mapping`` with the MACs and addresses that the target chose for ``new`` filled in."""
    given: dict[tuple[Construct, str], str] = {}
    for old, now in zip(vm.nics, new.nics, strict=False):
        given[Construct.MAC, old.mac] = now.mac
        given[Construct.ADDRESS, old.addresses[0] if old.addresses else old.mac] = ", ".join(now.addresses)
    return Mapping(
        tuple(
            dataclasses.replace(choice, target=given.get((choice.construct, choice.source), ""))
            if not choice.target
            else choice
            for choice in mapping.choices
        )
    )


def _own_disks(vm: VM) -> tuple[Disk, ...]:
    return tuple(disk for disk in vm.disks if not disk.seed)


def _disk(disk: Disk, mapping: Mapping) -> Disk:
    return dataclasses.replace(
        disk,
        id="",
        storage_class=mapping.target(Construct.STORAGE_CLASS, disk.storage_class),
        snapshots=(),
        backing="",
        used_by=(),
    )


def _nic(nic: Nic, mapping: Mapping) -> Nic:
    address = mapping.target(Construct.ADDRESS, nic.addresses[0] if nic.addresses else nic.mac)
    return dataclasses.replace(
        nic,
        mac=mapping.target(Construct.MAC, nic.mac),
        network=mapping.target(Construct.NETWORK, nic.network),
        addresses=(address,) if address else (),
        security_groups=tuple(
            mapping.target(Construct.SECURITY_GROUP, group) for group in nic.security_groups
        ),
        floating=(),
    )
