"""Whether a VM that is followed is still the one that was judged. Pure."""

from crossport import errors
from crossport.model.finding import Finding, Severity
from crossport.model.vm import VM
from crossport.units import size_text

__all__ = ["check_same_vm", "snapshot_findings"]


def check_same_vm(then: VM, now: VM) -> None:
    """Raise RolledBack when it was given, or lost, what no longer fits what was mapped and copied."""
    for code, words, what in (
        ("warm.disks.changed", _disks, "disks cannot be added, removed or grown"),
        ("warm.vm.changed", _nics, "its network cards and their security groups have to stay as they are"),
        ("warm.vm.changed", _size, "its processors and memory have to stay as they are"),
    ):
        if words(then) != words(now):
            raise errors.RolledBack(
                code,
                f"{now.name} has {words(now)} now, and had {words(then)} when the migration began.",
                remedy=f"Migrate again: {what} meanwhile.",
            )


def snapshot_findings(then: VM, now: VM) -> tuple[Finding, ...]:
    """Return which snapshots were taken meanwhile: they stay behind, unlike those that were accepted."""
    known = {(disk.id, name) for disk in then.disks for name in disk.snapshots}
    return tuple(
        Finding(
            "warm.snapshot.taken",
            Severity.WARNING,
            f"disk {disk.name}",
            f"Snapshot {name} of {disk.name} was taken during the migration; only its present state moves.",
            f"It stays with {now.name} at the source. Take it once more at the target if it is needed there.",
        )
        for disk in now.disks
        for name in disk.snapshots
        if (disk.id, name) not in known
    )


def _disks(vm: VM) -> str:
    own = [disk for disk in vm.disks if not disk.seed]
    named = (f"disk-{number} of {size_text(disk.size)}" for number, disk in enumerate(own))
    return ", ".join(named) or "no disk"


def _nics(vm: VM) -> str:
    named = (
        f"a card {nic.mac} in {nic.network} ({', '.join(nic.security_groups) or 'no group'})"
        for nic in vm.nics
    )
    return ", ".join(named) or "no network card"


def _size(vm: VM) -> str:
    return f"{vm.cpus} processors and {size_text(vm.memory)} of memory"
