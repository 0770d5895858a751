"""The images of a simulated cloud: their first bytes are what a VM made from one begins with."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from crossport.clouds.memory.store import Store
from crossport.model.artifact import DiskRef
from crossport.model.construct import Image
from crossport.model.record import record
from crossport.spi.making import image_exists, image_unknown

__all__ = ["add", "beginning", "close", "drop", "listed", "opened", "published"]

_KIND, _OWNERS, _READINGS = "images", "image-owners", "image-readings"


def listed(store: Store) -> tuple[Image, ...]:
    """Return all images, by name."""
    return tuple(sorted(store.every(_KIND, Image), key=lambda image: image.name))


@record()
class _Owner:
    """The project to which alone an image is published."""

    project: str


@record()
class _Reading:
    """Images that a run has open: copies, so that nobody can write the image itself."""

    run: str
    disks: tuple[str, ...]


async def add(
    store: Store, name: str, image_format: str, content: AsyncIterator[bytes], project: str
) -> Image:
    """Take ``content`` in; nothing is kept of what does not arrive whole."""
    _need_free(store, name)
    fresh = _path(store, name).with_suffix(".new")
    size, digest = 0, hashlib.sha256()
    try:
        with fresh.open("wb") as file:
            async for piece in content:
                size += file.write(piece)
                digest.update(piece)
        image = Image(id=digest.hexdigest()[:12], name=name, format=image_format, size=size)
        with store.locked():
            _need_free(store, name)  # another one may have come first
            fresh.replace(_path(store, name))
            store.put(_KIND, name, image)
            if project:
                store.put(_OWNERS, name, _Owner(project=project))
    finally:
        fresh.unlink(missing_ok=True)
    return image


def drop(store: Store, name: str) -> None:
    """Delete the image if it is there."""
    with store.locked():
        store.drop(_KIND, name)
        store.drop(_OWNERS, name)
        _path(store, name).unlink(missing_ok=True)


def published(store: Store, project: str) -> tuple[Image, ...]:
    """Return the images that the project may read, the newest first."""
    mine = [image for image in listed(store) if _owner(store, image) in {"", project}]
    return tuple(sorted(mine, key=lambda image: -_path(store, image.name).stat().st_mtime_ns))


def opened(store: Store, run: str, ids: Sequence[str], those: Sequence[Image]) -> tuple[DiskRef, ...]:
    """Open copies of images for the run; raise NotFound for one that is not among ``those``."""
    refs, by_id = list[DiskRef](), {image.id: image for image in those}
    known = store.find(_READINGS, run, _Reading) or _Reading(run=run, disks=())
    for image_id in ids:
        if image_id not in by_id:
            raise image_unknown(image_id)
        image = by_id[image_id]
        copy = f"{run}-image-{image.id}"
        store.put(_READINGS, run, known := replace(known, disks=(*{*known.disks, copy},)))
        if not store.disk(copy).exists():
            store.make_disk(copy, image.size, _path(store, image.name).read_bytes())
        path = str(store.disk(copy))
        refs.append(DiskRef(kind="file", locator=path, size=image.size, identity=image.id))
    return tuple(refs)


def close(store: Store, run: str) -> None:
    """Drop the run's copies."""
    known = store.find(_READINGS, run, _Reading)
    for copy in known.disks if known else ():
        store.disk(copy).unlink(missing_ok=True)
    store.drop(_READINGS, run)


def beginning(store: Store, image: str, size: int) -> bytes:
    """Return what the disk of a VM made from ``image`` begins with: the image's bytes, else the word."""
    if store.find(_KIND, image, Image) is None:
        return image.encode()
    with _path(store, image).open("rb") as file:
        return file.read(size)


def _owner(store: Store, image: Image) -> str:
    found = store.find(_OWNERS, image.name, _Owner)
    return found.project if found else ""


def _need_free(store: Store, name: str) -> None:
    if store.find(_KIND, name, Image) is not None:
        raise image_exists(name)


def _path(store: Store, name: str) -> Path:
    return store.disk(f"image-{name}")
