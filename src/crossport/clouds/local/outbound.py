"""Give a VM's bytes out: everything that makes it, opened for reading at one moment, until the end."""

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from crossport import errors
from crossport.clouds.local import catalog, fleece, serving, tracking
from crossport.clouds.local import guest as power
from crossport.clouds.local.installation import Installation, plain_file
from crossport.clouds.local.state import Guest, OpenExport, Volume
from crossport.clouds.local.volume import file_size
from crossport.hypervisor import daemon
from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Role
from crossport.model.run import Act
from crossport.model.vm import PowerState

__all__ = ["drop_export", "end_export", "end_tracking", "export"]

NO_MARKS = Marks()

_NEEDED = {ExportPoint.STOPPED: PowerState.STOPPED, ExportPoint.SUSPENDED: PowerState.SUSPENDED}


async def export(
    cloud: Installation, act: Act, vm_id: str, point: ExportPoint, marks: Marks = NO_MARKS
) -> Export:
    """Open the VM for reading. The same run gets the same answer again; another one is refused meanwhile."""
    async with cloud.working(vm_id, "exporting", act):
        guest = await power.settled(cloud, cloud.guest(vm_id))
        _need_power(guest, point)
        for other in cloud.state.every(OpenExport):
            if other.vm_id == vm_id and other.run != act.run:
                raise errors.Conflict(
                    "vm.exported",
                    f"{guest.vm.name} is being read by run {other.run}.",
                    remedy="Wait until it ends, or cancel it.",
                )
        key = f"{act.run} {vm_id}"
        opened = cloud.state.find(key, OpenExport)
        wanted = OpenExport(id=key, run=act.run, vm_id=vm_id, epoch=act.epoch, point=point, marks=marks)
        if opened is not None and not _holds(opened, wanted, guest):
            await drop_export(cloud, opened)
            opened = None
        if opened is None:
            opened = await _opened(cloud, wanted, guest)
        vm = catalog.settled(cloud, guest)
        return Export(vm=vm, point=point, artifacts=opened.artifacts, frozen=opened.frozen)


def _need_power(guest: Guest, point: ExportPoint) -> None:
    needed = _NEEDED.get(point)
    if needed is not None and guest.vm.power is not needed:
        raise errors.Conflict(
            "vm.power.wrong",
            f"{guest.vm.name} is {guest.vm.power}, not {needed}.",
            remedy=f"Have it {needed} first.",
        )


def _holds(opened: OpenExport, wanted: OpenExport, guest: Guest) -> bool:
    """Whether what is open is what is asked for, and its servers live."""
    same = ("epoch", "point", "marks")
    if any(getattr(opened, name) != getattr(wanted, name) for name in same) or not opened.artifacts:
        return False
    if opened.live:
        return guest.daemon is not None
    return opened.daemon is not None and daemon.alive(opened.daemon)


async def _opened(cloud: Installation, opened: OpenExport, guest: Guest) -> OpenExport:
    disks = [cloud.volume(disk.id) for disk in guest.vm.disks if not cloud.volume(disk.id).seed]
    states = [_measured(cloud, cloud.volume(one)) for one in (guest.nvram, guest.tpm, guest.memory) if one]
    live = guest.daemon is not None
    # Written down before anything is opened, so that it can be closed whatever happens.
    opened = dataclasses.replace(opened, live=live, overlays=len(guest.vm.disks) if live else 0)
    cloud.state.put(opened.id, opened)
    path = serving.socket_path(cloud, opened.id)
    if live:
        live_path = path.with_name("live")
        states = await asyncio.to_thread(_copied, cloud, guest, states)
        every = [cloud.volume(disk.id) for disk in guest.vm.disks]
        caught = await fleece.begin_fleecing(cloud, guest, opened, every, live_path)
        opened = dataclasses.replace(opened, frozen=caught.frozen)
        await tracking.forget_others(cloud, opened, disks)
        server = await serving.open_volumes(cloud, opened.id, states, writable=False)
        artifacts = [*_disk_artifacts(disks, live_path, caught.bitmaps), *_state_artifacts(states, path)]
    else:
        bitmaps = (await tracking.stopped(cloud, opened, disks)).bitmaps
        await tracking.forget_others(cloud, opened, disks)
        server = await serving.open_volumes(
            cloud, opened.id, [*disks, *states], writable=False, bitmaps=bitmaps
        )
        artifacts = [*_disk_artifacts(disks, path, bitmaps), *_state_artifacts(states, path)]
    opened = dataclasses.replace(opened, daemon=server, artifacts=tuple(artifacts))
    cloud.state.put(opened.id, opened)
    return opened


def _disk_artifacts(disks: list[Volume], path: Path, bitmaps: Mapping[str, str]) -> list[Artifact]:
    return [
        serving.artifact(disk, path, name=f"disk-{number}", bitmap=bitmaps.get(disk.id, ""))
        for number, disk in enumerate(disks)
    ]


def _state_artifacts(states: list[Volume], path: Path) -> list[Artifact]:
    return [serving.artifact(one, path, name=str(one.role)) for one in states if one.size]


def _measured(cloud: Installation, volume: Volume) -> Volume:
    """A TPM's state has the size that it has now."""
    return dataclasses.replace(volume, size=file_size(cloud, volume))


def _copied(cloud: Installation, guest: Guest, states: list[Volume]) -> list[Volume]:
    """Copy what a running guest may still write; it is small."""
    copies: list[Volume] = []
    for volume in states:
        if volume.role is Role.MEMORY or not volume.size:
            continue
        path = cloud.layout.vm(guest.vm.id) / f"moment-{volume.role}.raw"
        with plain_file(cloud.path(volume)) as source, path.open("wb") as copy:
            # Of a fixed size: who writes it could make it longer for ever.
            os.copy_file_range(source, copy.fileno(), volume.size)
        cloud.own(path, guest.uid)
        relative = str(path.relative_to(cloud.layout.root))
        copies.append(dataclasses.replace(volume, path=relative, size=path.stat().st_size))
    return copies


async def end_export(cloud: Installation, act: Act, vm_id: str) -> None:
    """Close what the run opened of this VM. Not an error when nothing is open."""
    async with cloud.working(vm_id, "ending the export of", act):
        opened = cloud.state.find(f"{act.run} {vm_id}", OpenExport)
        if opened is not None:
            await drop_export(cloud, opened)


async def end_tracking(cloud: Installation, act: Act, vm_id: str) -> None:
    """Forget all marks of the run. What it reads of a VM that is off is closed for that."""
    cloud.state.admit(act)
    async with cloud.working(vm_id, "ending the tracking of"):
        guest = cloud.state.find(vm_id, Guest)
        opened = cloud.state.find(f"{act.run} {vm_id}", OpenExport)
        if guest is not None:
            guest = await power.settled(cloud, guest)
            if opened is not None and guest.daemon is None:
                await drop_export(cloud, opened)
        await tracking.forget_run(cloud, act.run, vm_id, guest)


async def drop_export(cloud: Installation, opened: OpenExport) -> None:
    """Close the export, whoever opened it. The caller keeps others away from the VM."""
    guest = cloud.state.find(opened.vm_id, Guest)
    if guest is not None:
        guest = await power.settled(cloud, guest)
        if opened.live:
            await fleece.end_fleecing(cloud, guest, opened.overlays)
        for path in cloud.layout.vm(guest.vm.id).glob("moment-*"):
            path.unlink()
    await serving.close(cloud, opened.id, opened.daemon, in_order=False)
    cloud.state.drop(opened.id, OpenExport)
