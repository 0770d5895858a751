"""Named snapshots inside a VM's own qcow2 disks, all of the same moment. They stand in the way of a move."""

import dataclasses
import re

from crossport import errors
from crossport.clouds.local import catalog
from crossport.clouds.local import guest as power
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of
from crossport.clouds.local.state import Guest, OpenExport
from crossport.hypervisor import confine, qmp
from crossport.model.run import Act
from crossport.model.vm import VM

__all__ = ["take"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAKE_S = 120.0


async def take(cloud: Installation, act: Act, vm_id: str, name: str) -> VM:
    """Keep the present state of the disks as ``name``. Done twice it is one snapshot."""
    if not _NAME.fullmatch(name):
        raise errors.Invalid(
            "snapshot.name.wrong",
            f"{name!r} cannot name a snapshot.",
            field="name",
            remedy="Use up to 63 letters, digits, dots, dashes and underscores.",
        )
    async with cloud.working(vm_id, "taking a snapshot of", act):
        guest = await power.settled(cloud, cloud.guest(vm_id))
        _need_able(cloud, guest)
        if all(name in disk.snapshots for disk in guest.vm.disks):
            return catalog.settled(cloud, guest)
        if guest.daemon is not None:
            await _taken_running(cloud, guest, name)
        else:
            for disk in guest.vm.disks:
                await _taken_stopped(cloud, disk.id, name)
        disks = tuple(dataclasses.replace(disk, snapshots=(*disk.snapshots, name)) for disk in guest.vm.disks)
        guest = dataclasses.replace(guest, vm=dataclasses.replace(guest.vm, disks=disks))
        cloud.state.put(vm_id, guest)
        return catalog.settled(cloud, guest)


def _need_able(cloud: Installation, guest: Guest) -> None:
    if any(cloud.volume(disk.id).format != "qcow2" for disk in guest.vm.disks):
        raise errors.Conflict(
            "snapshot.format.raw",
            f"{guest.vm.name} has a raw disk, which cannot keep snapshots.",
            remedy="Use disks of the storage class qcow2.",
        )
    if any(one.vm_id == guest.vm.id for one in cloud.state.every(OpenExport)):
        raise errors.Conflict(
            "vm.exported", f"{guest.vm.name} is being read.", remedy="Wait until that ends."
        )


async def _taken_running(cloud: Installation, guest: Guest, name: str) -> None:
    actions = [
        {"type": "blockdev-snapshot-internal-sync", "data": {"device": f"disk-{number}", "name": name}}
        for number in range(len(guest.vm.disks))
    ]
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        await steer.execute("transaction", {"actions": actions}, timeout_s=_TAKE_S)


async def _taken_stopped(cloud: Installation, disk_id: str, name: str) -> None:
    volume = cloud.volume(disk_id)
    path = cloud.path(volume)
    confinement = confine.Confinement(write=(path,), uid=volume.uid, gid=volume.uid)
    argv = ["qemu-img", "snapshot", "-c", name, "--image-opts"]
    argv += [f"driver=qcow2,file.driver=file,file.filename={str(path).replace(',', ',,')}"]
    done = await confine.run(argv, confinement, timeout_s=_TAKE_S)
    if done.status != 0:
        raise errors.Unavailable(
            "snapshot.failed",
            f"The snapshot could not be taken: {done.stderr.strip()}",
            remedy="See that the disk is not full.",
        )
