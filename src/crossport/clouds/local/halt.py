"""Whether a guest that has its power on executes at all: QEMU stops one whose disk takes no more writes."""

import asyncio
import dataclasses

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of
from crossport.clouds.local.state import Guest
from crossport.hypervisor import qmp
from crossport.model.vm import VM

__all__ = ["halted", "told"]

_ANSWER_S = 5.0
_WHY = {
    "io-error": "QEMU stopped it because a disk failed, as when the cloud's file system is full",
    "paused": "QEMU was told to stop it",
    "internal-error": "QEMU stopped it at an error of the processor",
    "guest-panicked": "its kernel panicked",
    "watchdog": "its watchdog stopped it",
}


async def told(cloud: Installation, vm: VM) -> VM:
    """Return the VM with what `halted` says of it."""
    guest = cloud.state.find(vm.id, Guest)
    return dataclasses.replace(vm, halted=await halted(cloud, guest)) if guest else vm


async def halted(cloud: Installation, guest: Guest) -> str:
    """Return why the guest's processors stand still; "" when they run, or when it is off or worked on."""
    if guest.daemon is None or cloud.busy.get(guest.vm.id):
        return ""
    try:
        async with qmp.monitor(control_of(cloud, guest), timeout_s=_ANSWER_S) as steer:
            async with asyncio.timeout(_ANSWER_S):
                status = await steer.ask("query-status", "status")
    except (errors.Unavailable, errors.Broken, TimeoutError):
        return ""  # it ended just now, is kept busy, or says nothing of use: none says that it stands still
    return _WHY.get(str(status), "")
