"""The VMs of a tenant's clouds, as people ask for them: list, make, start, stop, delete, look at."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport import errors
from crossport.migration.ability import able
from crossport.migration.deletion import need_deletable
from crossport.migration.new_vm import described, need_name
from crossport.migration.registry import CloudRegistry
from crossport.model.request import VmRequest
from crossport.model.run import Act
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import Console, Inventory, Power, Provisioner

__all__ = ["TenantVms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantVms:
    """Implements a part of `crossport.spi.control.Control`.

    ``holder`` returns the run that has reserved a VM of a tenant's cloud, empty when nobody has; ``token``
    returns fresh text.
    """

    registry: CloudRegistry
    holder: Callable[[str, str, str], Awaitable[str]]
    token: Callable[[], str]

    async def every(self, tenant: str, cloud: str) -> tuple[VM, ...]:
        """Return the VMs of a cloud."""
        return await able(await self.registry.cloud(tenant, cloud), Inventory).vms()

    async def one(self, tenant: str, cloud: str, vm: str) -> VM:
        """Return one VM."""
        return await able(await self.registry.cloud(tenant, cloud), Inventory).vm(vm)

    async def create(self, tenant: str, cloud: str, request: VmRequest, run: str) -> VM:
        """Make and start a VM, tagged with ``run``."""
        found = await self.registry.cloud(tenant, cloud)
        driver, inventory = able(found, Provisioner), able(found, Inventory)
        need_name(request.name, await inventory.vms(), cloud, run)
        vm = described(request, await inventory.constructs())
        return await driver.create_vm(_act(run, "create"), vm, request.image)

    async def start(self, tenant: str, cloud: str, vm: str) -> VM:
        """Start a VM."""
        driver = await self.registry.cloud(tenant, cloud)
        found = await able(driver, Inventory).vm(vm)
        await able(driver, Power).start(_act(self.token(), "start"), found.id)
        return await able(driver, Inventory).vm(found.id)

    async def stop(self, tenant: str, cloud: str, vm: str, *, shutdown_s: float, power_off: bool) -> VM:
        """Shut a VM down."""
        driver = await self.registry.cloud(tenant, cloud)
        found = await able(driver, Inventory).vm(vm)
        act = _act(self.token(), "stop")
        if not await able(driver, Power).shut_down(act, found.id, shutdown_s):
            if not power_off:
                raise errors.Conflict(
                    "vm.stop.refused",
                    f"{found.name} did not shut down within {shutdown_s:.0f} s.",
                    remedy="Give it more time, or pull the plug with --power-off.",
                )
            await able(driver, Power).power_off(act, found.id)
        return await able(driver, Inventory).vm(found.id)

    async def delete(
        self, tenant: str, cloud: str, vm: str, *, confirmed: bool, force_off: bool
    ) -> tuple[str, ...]:
        """Delete a VM with its disks, unless a migration holds or keeps it."""
        driver = await self.registry.cloud(tenant, cloud)
        found = await able(driver, Inventory).vm(vm)
        need_deletable(found, await self.holder(tenant, cloud, found.id), force_off=force_off)
        if not confirmed:
            return able(driver, Provisioner).deletes(found)
        act = _act(self.token(), "delete")
        if found.power is not PowerState.STOPPED:
            await able(driver, Power).power_off(act, found.id)
        return await able(driver, Provisioner).delete_vm(act, found.id)

    async def console(self, tenant: str, cloud: str, vm: str) -> str:
        """Return the end of the console log."""
        driver = await self.registry.cloud(tenant, cloud)
        found = await able(driver, Inventory).vm(vm)
        return await able(driver, Console).console_log(found.id)


def _act(run: str, step: str) -> Act:
    return Act(run=run, step=step, epoch=1)
