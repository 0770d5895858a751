"""Take a VM's bytes in: empty volumes, opened for writing, sealed, and opened for reading to be verified."""

import dataclasses
from collections.abc import Sequence

from crossport import errors
from crossport.clouds.local import catalog, serving
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import OpenImport, Volume
from crossport.clouds.local.volume import drop_volume, looks_like_seed, new_volume, sync, whole_sectors
from crossport.hypervisor import daemon
from crossport.model.artifact import Artifact, Role
from crossport.model.run import Act
from crossport.spi.cloud import RoomFor
from crossport.units import GIB

__all__ = ["drop_imported", "end_servers", "forget_done", "is_sealed", "prepare_import", "seal_import"]

# A guest's memory is its flavor's; firmware and TPM state are far smaller. A size beyond is an attack.
_LARGEST_STATE = {Role.NVRAM: GIB // 16, Role.TPM: GIB // 1024, Role.MEMORY: 512 * GIB}


async def prepare_import(cloud: Installation, act: Act, rooms: Sequence[RoomFor]) -> tuple[Artifact, ...]:
    """Make volumes and open them for writing. A higher epoch cuts the lower's writers off, no more."""
    key = cloud.made_id(act, "import")
    async with cloud.working(key, "importing", act):
        known = cloud.state.find(key, OpenImport)
        if known is not None and known.epoch < act.epoch:
            known = await _cut_off(cloud, act, known, rooms)
        if known is not None:
            return await _opened_again(cloud, known)
        opened = await _made(cloud, act, key, rooms)
        return _artifacts(cloud, opened)


async def _made(cloud: Installation, act: Act, key: str, rooms: Sequence[RoomFor]) -> OpenImport:
    async with cloud.allocation:
        _need_right(rooms)
        catalog.need_room(cloud, "", disk=sum(room.size for room in rooms))
        uid = cloud.new_uid()
        volumes = tuple(_volume(cloud, act, room, uid) for room in rooms)
        opened = OpenImport(
            id=key, run=act.run, epoch=act.epoch, volumes=tuple(one.id for one in volumes), uid=uid
        )
        with cloud.state.together():
            cloud.state.put(key, opened)
            for volume in volumes:
                cloud.state.put(volume.id, volume)
    for volume in volumes:
        await new_volume(cloud, volume)
    server = await serving.open_volumes(cloud, key, volumes, writable=True)
    opened = dataclasses.replace(opened, daemon=server)
    cloud.state.put(key, opened)
    return opened


def _need_right(rooms: Sequence[RoomFor]) -> None:
    names = [room.name for room in rooms]
    for number, room in enumerate(rooms):
        largest = _LARGEST_STATE.get(room.role)
        if names.count(room.name) > 1 or room.size < 0 or (largest is not None and room.size > largest):
            raise errors.Invalid(
                "import.room.wrong",
                f"Room for {room.name} of {room.size} bytes cannot be made.",
                field=f"rooms[{number}]",
                remedy="Name each artifact once, with its real size.",
            )
        if room.storage_class:
            catalog.need_storage(room.storage_class)


def _volume(cloud: Installation, act: Act, room: RoomFor, uid: int) -> Volume:
    volume_id = cloud.made_id(act, f"volume {room.name}")
    storage = (room.storage_class or "qcow2") if room.role is Role.DISK else "raw"
    return Volume(
        id=volume_id,
        name=room.name,
        role=room.role,
        size=room.size,
        format=storage,
        path=f"volumes/{volume_id}.{storage}",
        uid=uid,
        project=cloud.spec.projects[0],
        run=act.run,
        storage_class=storage if room.role is Role.DISK else "",
    )


async def _opened_again(cloud: Installation, opened: OpenImport) -> tuple[Artifact, ...]:
    if opened.sealed:
        raise errors.Conflict(
            "import.sealed",
            f"What run {opened.run} writes here is sealed.",
            remedy="Go on with the sealed volumes, or begin a new run.",
        )
    if opened.daemon is None or not daemon.alive(opened.daemon):
        volumes = [cloud.volume(one) for one in opened.volumes]
        for volume in volumes:
            if not cloud.path(volume).exists():
                await new_volume(cloud, volume)
            elif volume.format == "raw":
                whole_sectors(cloud, volume)
        server = await serving.open_volumes(cloud, opened.id, volumes, writable=True)
        opened = dataclasses.replace(opened, daemon=server)
        cloud.state.put(opened.id, opened)
    return _artifacts(cloud, opened)


async def _cut_off(
    cloud: Installation, act: Act, opened: OpenImport, rooms: Sequence[RoomFor]
) -> OpenImport | None:
    """End the writers of a lower epoch. Return the import for the new one, None when other rooms are asked.

    What was written stays: the servers are ended, and after a kill everything flushed is in the files.
    """
    volumes = [volume for one in opened.volumes if (volume := cloud.state.find(one, Volume))]
    used = [volume for volume in volumes if volume.vm_id]
    if used:
        raise errors.Conflict(
            "volume.used",
            f"Volume {used[0].id} belongs to VM {used[0].vm_id} already.",
            remedy="Remove that VM first.",
        )
    await serving.close(cloud, opened.id, opened.daemon, in_order=False)
    if [_asked(volume) for volume in volumes] != [
        _asked(_volume(cloud, act, room, opened.uid)) for room in rooms
    ]:
        for volume in volumes:
            drop_volume(cloud, volume)
        cloud.state.drop(opened.id, OpenImport)
        return None
    opened = dataclasses.replace(opened, epoch=act.epoch, daemon=None, sealed=False)
    with cloud.state.together():
        cloud.state.put(opened.id, opened)
        for volume in volumes:
            cloud.state.put(volume.id, dataclasses.replace(volume, seed=False))
    return opened


def _asked(volume: Volume) -> tuple[str, Role, int, str]:
    return volume.id, volume.role, volume.size, volume.format


async def seal_import(cloud: Installation, act: Act) -> tuple[Artifact, ...]:
    """End all writers of the run, durably, and open what they wrote for reading."""
    cloud.state.admit(act)
    artifacts: tuple[Artifact, ...] = ()
    mine = [one for one in cloud.state.every(OpenImport) if one.run == act.run]
    if not mine:
        raise errors.NotFound(
            "import.unknown", f"Run {act.run} has written nothing here.", remedy="Prepare an import first."
        )
    for one in mine:
        async with cloud.working(one.id, "sealing", act):
            opened = cloud.state.find(one.id, OpenImport) or one
            artifacts += await _sealed(cloud, opened)
    return artifacts


async def _sealed(cloud: Installation, opened: OpenImport) -> tuple[Artifact, ...]:
    if not opened.sealed:
        await serving.close(cloud, opened.id, opened.daemon, in_order=True)
        for one in opened.volumes:
            await _settled(cloud, cloud.volume(one))
        opened = dataclasses.replace(opened, sealed=True, daemon=None)
        cloud.state.put(opened.id, opened)
    volumes = [cloud.volume(one) for one in opened.volumes]
    used = any(volume.vm_id for volume in volumes)
    if not used and (opened.daemon is None or not daemon.alive(opened.daemon)):
        server = await serving.open_volumes(cloud, opened.id, volumes, writable=False)
        opened = dataclasses.replace(opened, daemon=server)
        cloud.state.put(opened.id, opened)
    return _artifacts(cloud, opened)


async def _settled(cloud: Installation, volume: Volume) -> None:
    exact = volume.size if volume.role is not Role.DISK else None
    sync(cloud.path(volume), size=exact)
    if await looks_like_seed(cloud, volume):
        cloud.state.put(volume.id, dataclasses.replace(volume, seed=True))


def _artifacts(cloud: Installation, opened: OpenImport) -> tuple[Artifact, ...]:
    path = serving.socket_path(cloud, opened.id)
    return tuple(serving.artifact(cloud.volume(one), path) for one in opened.volumes)


def is_sealed(cloud: Installation, volume: Volume) -> bool:
    """Say whether nobody writes the imported volume any more."""
    imports = [one for one in cloud.state.every(OpenImport) if volume.id in one.volumes]
    return all(one.sealed for one in imports)


async def end_servers(cloud: Installation, run: str) -> None:
    """Stop reading what the run has sealed: its VM takes the volumes over."""
    for opened in cloud.state.every(OpenImport):
        if opened.run == run and opened.sealed:
            await serving.close(cloud, opened.id, opened.daemon, in_order=False)
            cloud.state.put(opened.id, dataclasses.replace(opened, daemon=None))


def forget_done(cloud: Installation) -> None:
    """Forget imports of which no volume is left."""
    for opened in cloud.state.every(OpenImport):
        if not any(cloud.state.find(one, Volume) for one in opened.volumes):
            cloud.state.drop(opened.id, OpenImport)


async def drop_imported(cloud: Installation, volume: Volume) -> None:
    """Delete a volume that no VM has, cutting its writers off. Raise Conflict when a VM has it."""
    if volume.vm_id:
        raise errors.Conflict(
            "volume.used",
            f"Volume {volume.id} belongs to VM {volume.vm_id}.",
            remedy="Remove that VM, and its disks go with it.",
        )
    for opened in cloud.state.every(OpenImport):
        if volume.id in opened.volumes:
            await serving.close(cloud, opened.id, opened.daemon, in_order=False)
            left = tuple(one for one in opened.volumes if one != volume.id)
            if left:
                cloud.state.put(opened.id, dataclasses.replace(opened, volumes=left, daemon=None))
            else:
                cloud.state.drop(opened.id, OpenImport)
    drop_volume(cloud, volume)
