"""Fetch images from the web: by the mover, in ranges, into a file of the site, and from there into a cloud.

What arrived is kept until the image is in the cloud: the same call made again goes on where the last one was
cut off, as long as the web server still has the same version.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crossport import errors
from crossport.model.artifact import DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.model.construct import Image
from crossport.spi.clock import Clock
from crossport.spi.making import ImageStore, image_exists
from crossport.spi.mover import Mover
from crossport.units import MIB, size_text

__all__ = ["FetchMeans", "Look", "WebImages", "Wanted"]

HERE = Place(cloud="", subnet="", address="127.0.0.1")
"""This machine: the site fetches, not a cloud."""
TICKET_S = 6 * 3600.0
ARTIFACT = "image"


class Look(Protocol):
    """Whoever finds an object of a web server: ``crossport.transfer.look.WebLook``."""

    async def look(self, url: str, place: Place) -> DiskRef:
        """Return the object as a disk; raise when it may not be fetched, or is not there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchMeans:
    """What is worked with. ``folder`` holds what arrived so far; ``token`` returns fresh random text."""

    folder: Path
    look: Look
    mover: Mover
    clock: Clock
    token: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is fetched for whom: the content of ``url``, of a stated format, as image ``name`` of a cloud."""

    tenant: str
    cloud: str
    name: str
    image_format: str
    url: str

    @property
    def run(self) -> str:
        """The name under which it is copied, the same whenever it is asked for."""
        text = "\0".join((self.tenant, self.cloud, self.name, self.url))
        return f"fetch-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class WebImages:
    """Images by URL, of at most ``most`` bytes each."""

    def __init__(self, means: FetchMeans, most: int) -> None:
        self._means = means
        self._most = most

    async def fetch(self, wanted: Wanted, store: ImageStore) -> Image:
        """Copy the object and give it to ``store``; return the image there.

        Raise what looking, copying and taking in raise. The same call goes on with what arrived, but of an
        image that the cloud refuses nothing is kept.
        """
        if any(image.name == wanted.name for image in await store.images()):
            raise image_exists(wanted.name)
        found = await self._means.look.look(wanted.url, HERE)
        if not 0 < found.size <= self._most:
            raise errors.Refused(
                "image.fetch.size",
                f"{wanted.url} has {size_text(found.size)}; from 1 B to {size_text(self._most)} are fetched.",
                field="url",
                remedy="Let the operator raise the setting upload_size.",
            )
        file = self._file(wanted, found)
        await self._copied(wanted, found, file)
        try:
            image = await store.add_image(wanted.name, wanted.image_format, _pieces(file, found.size))
        except errors.Refused:  # what is wrong with it will be wrong with it again
            await self._forget(wanted, file)
            raise
        await self._forget(wanted, file)
        return image

    async def _forget(self, wanted: Wanted, file: Path) -> None:
        await self._means.mover.forget(wanted.run)
        await asyncio.to_thread(file.unlink, missing_ok=True)

    def _file(self, wanted: Wanted, found: DiskRef) -> Path:
        """Return the file for this version of the object; one with a part of another version is removed."""
        folder = self._means.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = hashlib.sha256(f"{found.identity} {found.size}".encode()).hexdigest()[:16]
        mine = list(folder.glob(f"{wanted.run}-*"))
        for path in mine:
            if path.name.split("-")[2] == version:
                return path
            path.unlink()
        path = folder / f"{wanted.run}-{version}-{self._means.token()}"
        path.touch(mode=0o600)
        return path

    async def _copied(self, wanted: Wanted, found: DiskRef, file: Path) -> Moved:
        target = DiskRef(kind="file", locator=str(file), size=found.size, identity=file.name)
        read, write = self._ticket(wanted, found, Way.READ), self._ticket(wanted, target, Way.WRITE)
        return await self._means.mover.move(read, write, _unheard)

    def _ticket(self, wanted: Wanted, ref: DiskRef, way: Way) -> Ticket:
        return Ticket(
            id=self._means.token(),
            tenant=wanted.tenant,
            run=wanted.run,
            epoch=1,
            artifact=ARTIFACT,
            way=way,
            ref=ref,
            place=HERE,
            byte_budget=ref.size + 64 * MIB,
            expires=self._means.clock.wall() + TICKET_S,
            nonce=self._means.token(),
        )


def _unheard(progress: Progress) -> None:
    del progress  # whoever asked waits for the end


async def _pieces(file: Path, size: int) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while size and (piece := opened.read(min(MIB, size))):
            size -= len(piece)
            yield piece
