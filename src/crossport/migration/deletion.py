"""Which VM a person may delete: one that is off, and that no migration holds or has left behind."""

from crossport import errors
from crossport.model.vm import VM, PowerState

__all__ = ["need_deletable"]


def need_deletable(vm: VM, holder: str, *, force_off: bool) -> None:
    """Raise Refused for a VM of a migration, Conflict for one that is not off; ``holder`` is its run, or "".

    What a migration keeps is deleted by way of its run, which knows whether there is another copy.
    """
    if vm.fenced:
        raise errors.Refused(
            "vm.delete.kept",
            f"{vm.name} is fenced: it is the source that a migration keeps, or the copy that must not start.",
            field="vm",
            remedy="Find the run: crossport run list; then: crossport source retire RUN, or roll it back.",
        )
    if holder or vm.quarantined:
        raise errors.Refused(
            "vm.delete.migrating",
            f"{vm.name} belongs to {f'run {holder}' if holder else 'a run'} that is not through with it.",
            field="vm",
            remedy="Let the run end: crossport run show RUN; what a test left: crossport test finish RUN.",
        )
    if vm.power is not PowerState.STOPPED and not force_off:
        raise errors.Conflict(
            "vm.delete.running",
            f"{vm.name} is {vm.power}.",
            field="vm",
            remedy="Stop it first, or take its power away with --force-off.",
        )
