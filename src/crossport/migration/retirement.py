"""Deleting a source that a committed run left behind: only while it is fenced, and never by guess."""

from crossport import errors
from crossport.migration.ability import able
from crossport.model.run import Act
from crossport.model.vm import VM
from crossport.spi.cloud import Cloud, Inventory, Provisioner

__all__ = ["deleted", "kept_source", "would_delete"]


async def kept_source(cloud: Cloud, vm_id: str) -> VM | None:
    """Return the retained source, None when it is gone; raise Conflict ``vm.not-retained``.

    A cloud that does not answer raises what it raises: such a VM is not gone.
    """
    try:
        vm = await able(cloud, Inventory).vm(vm_id)
    except errors.NotFound:
        return None
    if not vm.fenced:
        raise errors.Conflict(
            "vm.not-retained",
            f"{vm.name} at {cloud.name} is no longer fenced: somebody took it into use again.",
            remedy="Delete it by the means of its cloud, if that is what you want.",
        )
    return vm


def would_delete(cloud: Cloud, vm: VM) -> tuple[str, ...]:
    """Return in words what goes with it."""
    return able(cloud, Provisioner).deletes(vm)


async def deleted(act: Act, cloud: Cloud, vm: VM) -> tuple[str, ...]:
    """Delete it for ever, and return in words what went with it; may be repeated."""
    return await able(cloud, Provisioner).delete_vm(act, vm.id)
