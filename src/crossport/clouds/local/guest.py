"""The power of guests: start, shut down, power off, suspend; and what became of them meanwhile.

Every change is made by QEMU first and written down then, except that a start is written down just before
the first instruction. What a guest does by itself (it may switch itself off) is noticed by `settled`.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os

from crossport import errors
from crossport.clouds.local import console
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of, launch, unplug
from crossport.clouds.local.state import Guest, OpenExport, Volume
from crossport.clouds.local.volume import sync
from crossport.hypervisor import daemon, qmp
from crossport.model.artifact import Role
from crossport.model.permit import Fence
from crossport.model.run import Act
from crossport.model.vm import PowerState

__all__ = [
    "ended",
    "fence",
    "go_on",
    "power_off",
    "settled",
    "shut_down",
    "start",
    "start_all",
    "suspend",
    "unfence",
]

_LOG = logging.getLogger("crossport.clouds.local")
_PRESS_AGAIN_S, _LOOK_S = 8.0, 0.5
_SUSPEND_S = 600.0
_POLL_S = 0.05
_FASTEST = 1 << 40  # bytes a second: the default of 128 MiB/s is for networks


async def settled(cloud: Installation, guest: Guest) -> Guest:
    """Return the guest with the power it really has, after tidying up behind one that ended."""
    if guest.daemon is None:
        return guest
    if daemon.alive(guest.daemon):
        if guest.vm.power is not PowerState.SUSPENDED:
            return guest
        # Its memory is written; a service died before it could end it.
        await daemon.kill(guest.daemon)
    await unplug(cloud, guest)
    if guest.tpm_daemon is not None:
        # It ends with QEMU; only its state matters, and that is on the disk.
        await daemon.kill(guest.tpm_daemon)
    console.trim(cloud, guest)
    power = PowerState.SUSPENDED if guest.memory else PowerState.STOPPED
    return _put(cloud, cloud.guest(guest.vm.id), power, daemon=None, tpm_daemon=None)


async def start(cloud: Installation, act: Act, vm_id: str) -> None:
    """Start or resume; return when QEMU runs the guest. Refuse a fenced one and one that is read out."""
    async with cloud.working(vm_id, "starting"):
        guest = await _mine(cloud, act, vm_id)
        if guest.vm.fenced:
            raise errors.Refused(
                "vm.fenced",
                f"{guest.vm.name} is fenced and must not start.",
                remedy="It moved elsewhere, or is about to; the run that fenced it releases it.",
            )
        if guest.daemon is not None:
            await go_on(cloud, guest)
            return
        _need_unread(cloud, guest)
        await launch(cloud, guest)


async def start_all(cloud: Installation) -> None:
    """Start the guests that start by themselves, once for each boot of this machine.

    Not whenever the service starts: who was shut down on purpose would come back, a migration's source too.
    """
    boot = daemon.boot_id()
    if cloud.state.fact("started in boot") == boot:
        return
    for one in cloud.state.every(Guest):
        if not one.vm.autostart or one.vm.quarantined:
            continue
        async with cloud.working(one.vm.id, "starting"):
            guest = cloud.state.find(one.vm.id, Guest)
            if guest is None or guest.vm.fenced or guest.daemon is not None:
                continue
            try:
                _need_unread(cloud, guest)
                await launch(cloud, guest)
                _LOG.info("vm=%s started by itself", guest.vm.id)
            except errors.Error as error:
                _LOG.warning("vm=%s did not start by itself: %s", guest.vm.id, error)
    cloud.state.remember("started in boot", boot)


def _need_unread(cloud: Installation, guest: Guest) -> None:
    for one in cloud.state.every(OpenExport):
        if one.vm_id == guest.vm.id:
            raise errors.Conflict(
                "vm.exported",
                f"The disks of {guest.vm.name} are being read by run {one.run}.",
                remedy="Wait until it ends, or cancel it.",
            )


async def go_on(cloud: Installation, guest: Guest) -> None:
    """Make sure that a QEMU that is there executes its guest."""
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        if not await steer.ask("query-status", "running"):
            await steer.execute("cont")


async def shut_down(cloud: Installation, act: Act, vm_id: str, timeout_s: float) -> bool:
    """Press the power button, again while nothing happens; say whether the guest was off in time."""
    async with cloud.working(vm_id, "shutting down"):
        guest = await _mine(cloud, act, vm_id)
        if guest.vm.power is PowerState.SUSPENDED:
            raise _wrong(guest, "shut down")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while guest.daemon is not None and (left := deadline - loop.time()) > 0:
            # A guest that is still booting does not hear the button; one that just ended has none.
            with contextlib.suppress(errors.Unavailable):
                async with qmp.monitor(control_of(cloud, guest), timeout_s=5) as steer:
                    await steer.execute("system_powerdown")
            await _waited(cloud, guest, guest.daemon, min(left, _PRESS_AGAIN_S))
            guest = await settled(cloud, guest)
        return guest.daemon is None


async def _waited(cloud: Installation, guest: Guest, running: daemon.Daemon, seconds: float) -> None:
    """Wait for the guest's end, and keep its logs within bounds: nobody else works on it meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0 and not await daemon.ended(running, min(left, _LOOK_S)):
        console.trim(cloud, guest)


async def power_off(cloud: Installation, act: Act, vm_id: str) -> None:
    """Take the power away; the memory of a suspended guest is given up."""
    async with cloud.working(vm_id, "powering off"):
        guest = await _mine(cloud, act, vm_id)
        await ended(cloud, guest)
        guest = cloud.guest(vm_id)
        if guest.vm.power is PowerState.SUSPENDED:
            _drop_memory(cloud, guest)
            _put(cloud, guest, PowerState.STOPPED, memory="")


async def ended(cloud: Installation, guest: Guest) -> Guest:
    """End the guest's QEMU, politely at first, and tidy up."""
    if guest.daemon is not None:
        # It may be gone, or not answer: both end below.
        with contextlib.suppress(errors.Unavailable):
            async with qmp.monitor(control_of(cloud, guest), timeout_s=5) as steer:
                await steer.execute("quit", timeout_s=5)
        if not await daemon.ended(guest.daemon, 10):
            await daemon.kill(guest.daemon)
    return await settled(cloud, guest)


async def suspend(cloud: Installation, act: Act, vm_id: str) -> None:
    """Stop the guest, keep its memory in a file, end QEMU. Not an error when that is so already."""
    async with cloud.working(vm_id, "suspending"):
        guest = await _mine(cloud, act, vm_id)
        if guest.vm.power is PowerState.SUSPENDED:
            return
        if guest.daemon is None:
            raise _wrong(guest, "suspended")
        _need_unread(cloud, guest)
        await console.eject_seed(cloud, guest)
        guest = cloud.guest(vm_id)
        volume = _memory_volume(cloud, guest)
        try:
            await _written(cloud, guest, volume)
        except BaseException:
            cloud.path(volume).unlink(missing_ok=True)
            cloud.state.drop(volume.id, Volume)
            await _continue(cloud, guest)
            raise
        sync(cloud.path(volume))
        volume = dataclasses.replace(volume, size=cloud.path(volume).stat().st_size)
        with cloud.state.together():
            cloud.state.put(volume.id, volume)
            # Written while QEMU is still there, paused: its end is only cleaning up.
            guest = _put(cloud, guest, PowerState.SUSPENDED, memory=volume.id)
        await ended(cloud, guest)


async def _written(cloud: Installation, guest: Guest, volume: Volume) -> None:
    path = cloud.path(volume)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    cloud.own(path, guest.uid)
    try:
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            await steer.execute("stop")
            await steer.execute("migrate-set-parameters", {"max-bandwidth": _FASTEST})
            await steer.pass_descriptor("memory", descriptor)
            await steer.execute("migrate", {"uri": "fd:memory"})
            for _ in range(round(_SUSPEND_S / _POLL_S)):
                status = await steer.ask("query-migrate", "status")
                if status == "completed":
                    return
                if status in {"failed", "cancelled"}:
                    break
                await asyncio.sleep(_POLL_S)
    finally:
        os.close(descriptor)
    raise errors.Unavailable(
        "vm.suspend.failed",
        f"The memory of {guest.vm.name} could not be written.",
        remedy="See that the cloud's file system has room for it, then try again.",
    )


async def _continue(cloud: Installation, guest: Guest) -> None:
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        await steer.execute("cont")


def _memory_volume(cloud: Installation, guest: Guest) -> Volume:
    volume = Volume(
        id=f"{guest.vm.id}-memory",
        name="memory",
        role=Role.MEMORY,
        size=0,
        format="raw",
        path=f"volumes/{guest.vm.id}-memory.raw",
        uid=guest.uid,
        vm_id=guest.vm.id,
    )
    cloud.state.put(volume.id, volume)
    return volume


def _drop_memory(cloud: Installation, guest: Guest) -> None:
    if guest.memory:
        cloud.path(cloud.volume(guest.memory)).unlink(missing_ok=True)
        cloud.state.drop(guest.memory, Volume)


async def fence(cloud: Installation, act: Act, vm_id: str) -> Fence:
    """Lock the VM and unplug its NICs, for every start from now on. Raise Conflict when it runs."""
    async with cloud.working(vm_id, "fencing"):
        guest = await _mine(cloud, act, vm_id)
        if guest.daemon is not None:
            raise errors.Conflict(
                "vm.running", f"{guest.vm.name} runs and cannot be fenced.", remedy="Stop it first."
            )
        vm = dataclasses.replace(guest.vm, fenced=True)
        cloud.state.put(vm_id, dataclasses.replace(guest, vm=vm, detached=True))
        locked = "It is locked: the cloud refuses to start it, and does not start it by itself either."
        return Fence(done=(locked, "Its network cards are unplugged."))


async def unfence(cloud: Installation, act: Act, vm_id: str) -> None:
    """Undo ``fence``."""
    async with cloud.working(vm_id, "releasing"):
        guest = await _mine(cloud, act, vm_id)
        vm = dataclasses.replace(guest.vm, fenced=False)
        cloud.state.put(vm_id, dataclasses.replace(guest, vm=vm, detached=False))


async def _mine(cloud: Installation, act: Act, vm_id: str) -> Guest:
    cloud.state.admit(act)
    return await settled(cloud, cloud.guest(vm_id))


def _put(cloud: Installation, guest: Guest, power: PowerState, **changes: object) -> Guest:
    vm = dataclasses.replace(guest.vm, power=power)
    changed = dataclasses.replace(guest, vm=vm, **changes)
    cloud.state.put(guest.vm.id, changed)
    return changed


def _wrong(guest: Guest, what: str) -> errors.Conflict:
    return errors.Conflict(
        "vm.power.wrong",
        f"{guest.vm.name} is {guest.vm.power} and cannot be {what}.",
        remedy="Start it first.",
    )
