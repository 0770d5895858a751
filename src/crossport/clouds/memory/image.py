"""The images of a simulated cloud: their first bytes are what a VM made from one begins with."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from crossport.clouds.memory.store import Store
from crossport.model.construct import Image
from crossport.spi.making import image_exists

__all__ = ["add", "beginning", "drop", "listed"]

_KIND = "images"


def listed(store: Store) -> tuple[Image, ...]:
    """Return all images, by name."""
    return tuple(sorted(store.every(_KIND, Image), key=lambda image: image.name))


async def add(store: Store, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
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
    finally:
        fresh.unlink(missing_ok=True)
    return image


def drop(store: Store, name: str) -> None:
    """Delete the image if it is there."""
    with store.locked():
        store.drop(_KIND, name)
        _path(store, name).unlink(missing_ok=True)


def beginning(store: Store, image: str, size: int) -> bytes:
    """Return what the disk of a VM made from ``image`` begins with: the image's bytes, else the word."""
    if store.find(_KIND, image, Image) is None:
        return image.encode()
    with _path(store, image).open("rb") as file:
        return file.read(size)


def _need_free(store: Store, name: str) -> None:
    if store.find(_KIND, name, Image) is not None:
        raise image_exists(name)


def _path(store: Store, name: str) -> Path:
    return store.disk(f"image-{name}")
