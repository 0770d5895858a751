"""What a simulated cloud has of disks that are being imported: each belongs to a run until a VM takes it."""

import dataclasses

from crossport import errors
from crossport.clouds.memory.store import Store
from crossport.model.artifact import Artifact, DiskRef, Role
from crossport.model.record import record
from crossport.model.run import Act
from crossport.spi.cloud import RoomFor

__all__ = ["Volume", "artifact", "every", "put", "sealed", "writable"]

_KIND = "volumes"


@record()
class Volume:
    """A disk in the making. ``making`` is another number each time that it is made anew."""

    id: str
    size: int
    role: Role
    run: str
    epoch: int
    sealed: bool = False
    making: int = 0


def every(store: Store) -> tuple[Volume, ...]:
    """Return all of them."""
    return store.every(_KIND, Volume)


def put(store: Store, volume: Volume) -> None:
    """Keep the volume."""
    store.put(_KIND, volume.id, volume)


def writable(store: Store, act: Act, room: RoomFor) -> Volume:
    """Return a volume that the act may write; no older writer has it open any more."""
    volume_id = f"{act.run}-{room.name}"
    known = store.find(_KIND, volume_id, Volume)
    if known is not None and (known.size, known.role) == (room.size, room.role):
        if known.epoch == act.epoch:
            if known.sealed:
                raise errors.Conflict(
                    "import.sealed",
                    f"What run {act.run} writes here is sealed.",
                    remedy="Begin a new run to write again.",
                )
            return known
        volume = dataclasses.replace(known, epoch=act.epoch, sealed=False)
        store.part_disk(volume_id)
    else:
        making = store.count_up()
        volume = Volume(
            id=volume_id, size=room.size, role=room.role, run=act.run, epoch=act.epoch, making=making
        )
        store.make_disk(volume_id, room.size)
    store.put(_KIND, volume_id, volume)
    return volume


def artifact(store: Store, volume: Volume) -> Artifact:
    """Return how the volume is written."""
    path = str(store.disk(volume.id))
    return Artifact(
        role=volume.role,
        name=volume.id.removeprefix(f"{volume.run}-"),
        ref=DiskRef(kind="file", locator=path, size=volume.size, identity=f"{volume.id}.{volume.making}"),
    )


def sealed(store: Store, act: Act, wanted: Artifact) -> Volume:
    """Return the run's volume that a VM may be made of."""
    volume = store.find(_KIND, f"{act.run}-{wanted.name}", Volume)
    if volume is None:
        raise errors.Refused(
            "volume.foreign",
            f"{wanted.name} was not written by run {act.run}.",
            remedy="Let each run import what it wrote itself.",
        )
    if not volume.sealed:
        raise errors.Conflict(
            "import.open", f"{wanted.name} is still being written.", remedy="Seal the import first."
        )
    return volume
