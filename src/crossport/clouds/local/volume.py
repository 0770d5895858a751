"""The bytes of VMs and images: made, copied, inspected and deleted. Formats are always stated.

Nothing is shared with anything outside: what comes in is copied, byte by byte, and inspected before any tool
reads it. A volume belongs to one user of the machine, the one its VM runs as.
"""

import asyncio
import dataclasses
import os
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from crossport import errors
from crossport.clouds.local.installation import Installation, plain_file
from crossport.clouds.local.state import Image, Owner, Volume
from crossport.convert.inspect import inspect
from crossport.convert.inspection import Format
from crossport.convert.reader import opened
from crossport.hypervisor import qemu_img
from crossport.hypervisor.qemu_img import QemuImg
from crossport.model.artifact import Role
from crossport.spi.making import image_exists
from crossport.units import MIB, SECTOR, size_text

__all__ = [
    "drafts",
    "drop_file",
    "drop_image",
    "drop_volume",
    "file_size",
    "image_path",
    "images",
    "looks_like_seed",
    "new_volume",
    "register_image",
    "sync",
    "whole_sectors",
]

_FORMATS = {"raw": Format.RAW, "qcow2": Format.QCOW2}
_DRAFTS = (".new", ".look")
_PIECE = 1 * MIB
_SPARE = 8 * MIB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ISO_VOLUME = 32808  # ECMA-119 8.4: the volume identifier of the primary descriptor
_FAT_LABELS = (43, 71)


def images(cloud: Installation) -> list[Image]:
    """Return all images, by name."""
    return sorted(cloud.state.every(Image), key=lambda image: image.name)


def image_path(cloud: Installation, image: Image) -> Path:
    """Return where the image's bytes are."""
    return cloud.layout.images / f"{image.id}.{image.format}"


async def register_image(
    cloud: Installation, name: str, image_format: str, content: AsyncIterator[bytes], project: str = ""
) -> Image:
    """Take an image in under ``name``, replacing none; return it when it was found harmless and copied.

    It is published to the ``project`` alone, without one to all.
    Raise Conflict ``image.exists``, Refused with the code of what is wrong with the content.
    """
    if not _NAME.fullmatch(name):
        raise errors.Invalid(
            "image.name.invalid",
            f"{name!r} cannot be the name of an image.",
            field="name",
            remedy="Use at most 63 letters, digits, dots, dashes and underscores, a letter or digit first.",
        )
    if any(image.name == name for image in images(cloud)):
        raise image_exists(name)
    if image_format not in _FORMATS:
        raise errors.Invalid(
            "image.format.unknown",
            f"Images of format {image_format} are not taken.",
            field="format",
            remedy="Convert it to raw or qcow2 first: crossport image convert.",
        )
    image_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{cloud.cloud_id}/{name}/{cloud.state.count_up('image')}"))
    raw, kept = cloud.layout.images / f"{image_id}.new", cloud.layout.images / f"{image_id}.{image_format}"
    try:
        await _received(cloud, raw, content)
        size = await asyncio.to_thread(_inspected, raw, image_format)
        if image_format == "raw":
            raw.rename(kept)
        else:
            _need_room(cloud, raw.stat().st_blocks * 512, raw.stat().st_blocks * 512)
            # What is kept was written by our own tool: no feature of the sender's survives.
            await QemuImg().convert(qemu_img.Image(raw, "qcow2"), kept, "qcow2")
        sync(kept)
        image = Image(id=image_id, name=name, format=image_format, size=size)
        with cloud.state.together():
            cloud.state.put(image_id, image)
            if project:
                cloud.state.put(image_id, Owner(id=image_id, project=project))
    except BaseException:
        kept.unlink(missing_ok=True)
        raise
    finally:
        raw.unlink(missing_ok=True)
    return image


def drop_image(cloud: Installation, name: str) -> None:
    """Delete an image. Not an error when there is none: VMs have copies."""
    for image in images(cloud):
        if image.name == name:
            cloud.state.drop(image.id, Image)
            cloud.state.drop(image.id, Owner)
            image_path(cloud, image).unlink(missing_ok=True)


async def new_volume(cloud: Installation, volume: Volume, image: Image | None = None) -> Volume:
    """Make the volume's file, empty and reading as zero, or a copy of ``image`` grown to its size.

    A file is there whole or not at all; one that was there is replaced, and its identity ends. The volume
    is in the state first, so that nothing is ever on the disk that the state does not know.
    """
    volume = dataclasses.replace(volume, making=cloud.state.count_up("volume"))
    cloud.state.put(volume.id, volume)
    cloud.path(volume).unlink(missing_ok=True)
    path = _draft(cloud, volume)
    path.unlink(missing_ok=True)
    tool = QemuImg()
    if image is not None:
        source = image_path(cloud, image)
        await tool.convert(qemu_img.Image(source, _driver(image.format)), path, _driver(volume.format))
        if volume.size > image.size:
            await tool.resize(qemu_img.Image(path, _driver(volume.format)), volume.size)
    elif volume.format == "qcow2":
        await tool.create(path, "qcow2", volume.size)
    else:
        path.touch(mode=0o600, exist_ok=False)
        os.truncate(path, _in_sectors(volume))
    cloud.own(path, volume.uid)
    path.rename(cloud.path(volume))
    return volume


def whole_sectors(cloud: Installation, volume: Volume) -> None:
    """Let the raw file end with a sector again, as a server that writes needs it; nothing else changes."""
    os.truncate(cloud.path(volume), _in_sectors(volume))


def drop_volume(cloud: Installation, volume: Volume) -> None:
    """Delete the volume and its bytes. May be called twice."""
    drop_file(cloud, volume)
    cloud.state.drop(volume.id, Volume)


def drop_file(cloud: Installation, volume: Volume) -> None:
    """Delete the volume's bytes. May be called twice."""
    cloud.path(volume).unlink(missing_ok=True)
    _draft(cloud, volume).unlink(missing_ok=True)


def file_size(cloud: Installation, volume: Volume) -> int:
    """Return the bytes of the volume's file, 0 without one; raise Refused if it is none."""
    try:
        with plain_file(cloud.path(volume)) as descriptor:
            return os.fstat(descriptor).st_size
    except FileNotFoundError:
        return 0


def sync(path: Path, *, size: int | None = None) -> None:
    """Cut the file to ``size`` if that is given, and return when file and name are on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if size is not None:
            os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def looks_like_seed(cloud: Installation, volume: Volume) -> bool:
    """Say whether the disk is a ``cidata`` volume, which would configure the guest at its first boot."""
    if volume.size > 64 * MIB or volume.role is not Role.DISK:
        return False
    plain = cloud.path(volume)
    copy: Path | None = None
    if volume.format != "raw":
        copy = plain.with_suffix(_DRAFTS[1])
        copy.unlink(missing_ok=True)
        await QemuImg().convert(qemu_img.Image(plain, _driver(volume.format)), copy, "raw")
        plain = copy
    try:
        with plain.open("rb") as file:
            head = file.read(_ISO_VOLUME + 11)
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)
    labels = [head[start : start + 11] for start in (_ISO_VOLUME, *_FAT_LABELS)]
    return any(label.strip().lower() == b"cidata" for label in labels)


def drafts(cloud: Installation) -> list[Path]:
    """Return the files that were being made, or looked into, when a service was killed."""
    return [path for path in cloud.layout.volumes.iterdir() if path.suffix in _DRAFTS]


def _in_sectors(volume: Volume) -> int:
    return -(-volume.size // SECTOR) * SECTOR


def _draft(cloud: Installation, volume: Volume) -> Path:
    """Return where the volume's file is made before it is whole."""
    path = cloud.path(volume)
    return path.with_name(f"{path.name}{_DRAFTS[0]}")


def _driver(name: str) -> qemu_img.Driver:
    return "qcow2" if name == "qcow2" else "raw"


async def _received(cloud: Installation, path: Path, content: AsyncIterator[bytes]) -> None:
    zero, written = bytes(_PIECE), 0
    with path.open("xb") as file:
        path.chmod(0o600)
        async for piece in content:
            # Nothing is written where nothing is, so that the copy is as sparse as the original.
            if piece == zero[: len(piece)]:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                written += len(piece)
                _need_room(cloud, len(piece), written)
                await asyncio.to_thread(file.write, piece)
        file.truncate(file.tell())


def _need_room(cloud: Installation, more: int, size: int) -> None:
    """Raise Blocked when ``more`` bytes of an image, that takes ``size`` so far, would fill the disk.

    The guests of the cloud write to the same disk: one that is full stops them.
    """
    facts = os.statvfs(cloud.layout.images)
    free = facts.f_bavail * facts.f_frsize
    if more + _SPARE > free:
        raise errors.Blocked(
            "image.disk.full",
            f"The image needs {size_text(size)} or more, and {size_text(_SPARE)} stay free for the guests; "
            f"{cloud.spec.name} has {size_text(free)} left.",
            field="disk",
            remedy="Delete images or VMs that are not needed, or give the cloud's file system more room.",
        )


def _inspected(path: Path, image_format: str) -> int:
    """Return the size a guest sees; raise Refused for an image with a blocker."""
    with opened(path) as reader:
        found = inspect(reader, stated=_FORMATS[image_format])
    for blocker in found.blockers:
        raise errors.Refused(blocker.code, blocker.text, remedy=blocker.remedy)
    return found.virtual_size
