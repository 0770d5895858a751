"""VMs of a cloud: list, make, start, stop, and what their console says."""

from typing import Annotated

from fastapi import Depends, Query

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, CloudName, Key, Limit, Page, VmName, Who, page
from crossport.api.route import Route
from crossport.model.exchange import Console, Destruction, StopRequest
from crossport.model.request import VmRequest
from crossport.model.vm import VM, PowerState
from crossport.spi.control import Control

__all__ = ["VMs"]

ForceOff = Annotated[bool, Query(description="Take its power away first, if it is not off.")]


class VMs:
    """Serves ``/v1/clouds/{cloud}/vms``."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one = "/v1/clouds/{cloud}/vms", "/v1/clouds/{cloud}/vms/{vm}"
        vm, sent = example.shown(example.WEB), example.shown(example.VM_REQUEST)
        listed, log = example.page_of(example.WEB), example.shown(Console(text="web login: "))
        named = {"vm": "$response.body#/id"}
        told = example.shown(Destruction(things=("vm web (vm-1)", "disk root (1 GiB)"), done=False))
        deleted = {**told, "done": True}
        stop, fails = example.shown(StopRequest()), (404, 409, 503)
        return (
            Route("GET", many, "vm.list", self.list, listed, raises=(404, 503)),
            Route(
                "POST",
                many,
                "vm.create",
                self.create,
                vm,
                201,
                VmRequest,
                sent,
                raises=fails,
                names=named,
            ),
            Route("GET", one, "vm.show", self.show, vm, raises=(404, 503)),
            Route("POST", one + "/start", "vm.start", self.start, vm, raises=fails),
            Route("POST", one + "/stop", "vm.stop", self.stop, vm, 200, StopRequest, stop, raises=fails),
            Route("GET", one + "/deletion", "vm.preview", self.preview, told, raises=fails),
            Route("POST", one + "/deletion", "vm.delete", self.delete, deleted, raises=fails),
            Route("GET", one + "/console", "vm.console", self.console, log, raises=(404, 503)),
        )

    async def list(
        self,
        who: Who,
        cloud: CloudName,
        *,
        power: Annotated[PowerState | None, Query(description="Only VMs in this state.")] = None,
        after: After = "",
        limit: Limit = 100,
    ) -> Page[VM]:
        """List the VMs of a cloud, by name; of a caller that is bounded to projects, those that lie there."""
        every = await self._control.vms(who.tenant, cloud)
        found = (vm for vm in every if who.ceilings.has_project(cloud, vm.project))
        vms = sorted((vm for vm in found if power in (None, vm.power)), key=_place)
        return page(tuple(vms), tuple(map(_place, vms)), after, limit)

    async def create(
        self, who: Who, cloud: CloudName, request: Annotated[VmRequest, Depends(body(VmRequest))], key: Key
    ) -> VM:
        """Make a VM from an image of the cloud and start it."""
        return await self._control.create_vm(who.tenant, cloud, request, key)

    async def show(self, who: Who, cloud: CloudName, vm: VmName) -> VM:
        """Show one VM with its disks and NICs."""
        return await self._control.vm(who.tenant, cloud, vm)

    async def start(self, who: Who, cloud: CloudName, vm: VmName) -> VM:
        """Start a VM. One that was migrated away is fenced, and refused."""
        return await self._control.start_vm(who.tenant, cloud, vm)

    async def stop(
        self,
        who: Who,
        cloud: CloudName,
        vm: VmName,
        request: Annotated[StopRequest, Depends(body(StopRequest))],
    ) -> VM:
        """Shut a VM down; pull the plug afterwards only when told."""
        return await self._control.stop_vm(
            who.tenant, cloud, vm, shutdown_s=request.shutdown_s, power_off=request.power_off
        )

    async def preview(
        self, who: Who, cloud: CloudName, vm: VmName, *, force_off: ForceOff = False
    ) -> Destruction:
        """Say what deleting the VM would remove, or why it is refused."""
        things = await self._control.delete_vm(who.tenant, cloud, vm, confirmed=False, force_off=force_off)
        return Destruction(things=things, done=False)

    async def delete(
        self, who: Who, cloud: CloudName, vm: VmName, *, force_off: ForceOff = False
    ) -> Destruction:
        """Delete the VM with its disks. Refused for one that a migration holds or keeps. Cannot be undone."""
        things = await self._control.delete_vm(who.tenant, cloud, vm, confirmed=True, force_off=force_off)
        return Destruction(things=things, done=True)

    async def console(self, who: Who, cloud: CloudName, vm: VmName) -> Console:
        """Show the end of the VM's console log."""
        return Console(text=await self._control.console(who.tenant, cloud, vm))


def _place(vm: VM) -> str:
    """Return where the VM stands in the list: by name, and by id among equal names."""
    return f"{vm.name}/{vm.id}"
