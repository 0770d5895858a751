"""What looks into guests on this machine, once an operator has made the appliance."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from crossport import errors
from crossport.hypervisor import accelerator
from crossport.hypervisor.accelerator import BootDisk
from crossport.hypervisor.confine import NOBODY
from crossport.hypervisor.qemu import Accelerator
from crossport.inspector import opened
from crossport.transfer.confined import Tool

__all__ = ["inspecting"]


def inspecting(folder: Path) -> Callable[[], Awaitable[Tool]]:
    """Return what returns the tool with the appliance in ``folder``, as it is when somebody asks.

    It raises Refused (``inspect.appliance.missing``) as long as there is none.
    """

    async def tool() -> Tool:
        appliance = opened(folder)
        if appliance is None:
            raise errors.Refused(
                "inspect.appliance.missing",
                f"There is no inspection appliance in {folder}, so nobody can look into guests.",
                remedy="Make it on the machine of the site: crossport inspector build",
            )
        boot = BootDisk(kernel=appliance.kernel)
        proof = await accelerator.remembered(folder / "accelerator.json", boot, uid=NOBODY)
        kvm = proof.accelerator is Accelerator.KVM
        group = accelerator.kvm_group() if kvm else None
        return Tool(
            module="crossport.inspector.worker",
            arguments=(str(appliance.kernel), str(appliance.ram_disk), proof.accelerator),
            read=(appliance.kernel, appliance.ram_disk),
            devices=(Path("/dev/kvm"),) if kvm else (),
            groups=(group,) if group else (),
        )

    return tool
