"""Disks that several VMs of a simulated cloud have: each VM tells who else has its disk."""

import dataclasses
from collections.abc import Iterable

from crossport.clouds.memory.store import Store
from crossport.model.vm import VM

__all__ = ["drop", "keep"]


def keep(store: Store, made: VM) -> VM:
    """Keep the new VM and return it; it and those whose disks it has, too, tell of one another."""
    others = _sharing(store, made) if len(made.disks) > 1 else []
    for vm in others:
        store.put("vms", vm.id, _with_users(vm, (made, *others)))
    made = _with_users(made, others)
    store.put("vms", made.id, made)
    return made


def drop(store: Store, gone: VM) -> None:
    """Forget the VM, and delete the disks that nobody else has."""
    store.drop("vms", gone.id)
    others = _sharing(store, gone) if any(disk.used_by for disk in gone.disks) else []
    for vm in others:
        store.put("vms", vm.id, _with_users(vm, others))
    kept = {disk.id for vm in others for disk in vm.disks}
    for disk in gone.disks:
        if disk.id not in kept:
            store.disk(disk.id).unlink(missing_ok=True)


def _sharing(store: Store, one: VM) -> list[VM]:
    """Return the VMs that have a disk of this one. A disk without an id is nobody's."""
    mine = {disk.id for disk in one.disks if disk.id}
    return [vm for vm in store.every("vms", VM) if mine & {disk.id for disk in vm.disks}]


def _with_users(vm: VM, others: Iterable[VM]) -> VM:
    """Return the VM with the names of those others that have its disks, too."""
    rest = [other for other in others if other.id != vm.id]
    disks = (
        dataclasses.replace(
            disk, used_by=tuple(sorted(o.name for o in rest if disk.id in {each.id for each in o.disks}))
        )
        for disk in vm.disks
    )
    return dataclasses.replace(vm, disks=tuple(disks))
