"""Fetch images from the web: by the mover, in ranges, into a file of the site, and from there into a cloud.

What arrived is kept until the image is in the cloud: who asks for it again goes on where it was cut off, as
long as the web server still has the same version. What nobody goes on with is removed after a while.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from crossport import errors
from crossport.convert.formats import Source, inspected
from crossport.convert.inspection import Format
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
KEEP_S = 3 * 86400.0
KEEP_SIZE = 64 << 30
"""How long what arrived is kept for who goes on with it, and how much of it in all."""


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
    """Images by URL, of at most ``most`` bytes each; of partial ones ``keep`` bytes are kept, or one."""

    def __init__(self, means: FetchMeans, most: int, keep: int = KEEP_SIZE) -> None:
        self._means = means
        self._keep = max(keep, most)
        self._most = most
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    @property
    def at_work(self) -> tuple[str, ...]:
        """The names of the copies that a call works with, or waits for."""
        return tuple(self._turns)

    async def look(self, wanted: Wanted, store: ImageStore) -> DiskRef:
        """Find the object, to refuse at once what will never arrive.

        Raise what looking raises, Conflict for a name that is used, Refused for an object that is too large.
        """
        if await _held(wanted, store) is not None:
            raise image_exists(wanted.name)
        found = await self._means.look.look(wanted.url, HERE)
        if not 0 < found.size <= self._most:
            raise errors.Refused(
                "image.fetch.size",
                f"{wanted.url} has {size_text(found.size)}; from 1 B to {size_text(self._most)} are fetched.",
                field="url",
                remedy="Let the operator raise the setting upload_size.",
            )
        return found

    async def take(self, wanted: Wanted, store: ImageStore, report: Callable[[Progress], None]) -> Image:
        """Copy the object and give it to ``store``; return the image there.

        Raise what looking, copying and taking in raise. Made again it goes on with what arrived. After a
        cloud did not say whether it has the image, one that is there now under this name and of this size is
        taken for it; no other is. One call after the other for the same thing. Of an image that the cloud
        refuses nothing is kept.
        """
        async with self._turn(wanted.run):
            there, given = await _held(wanted, store), self._given(wanted)
            if there is not None and given.exists() and given.read_text() == str(there.size):
                return there
            given.unlink(missing_ok=True)  # the cloud has it not: what comes there from now on is not ours
            found = await self.look(wanted, store)
            file = self._file(wanted, found)
            await self._copied(wanted, found, file, report)
            given.touch(mode=0o600)
            given.write_text(str(await asyncio.to_thread(_guest_size, file, wanted.image_format)))
            try:
                return await store.add_image(wanted.name, wanted.image_format, _pieces(file, found.size))
            except errors.Unavailable:
                raise  # nobody knows yet whether the cloud has it
            except errors.Refused:  # what is wrong with it will be wrong with it again
                await self.forget(wanted.run)
                raise
            except errors.Error:
                given.unlink()
                raise

    async def forget(self, copy: str) -> None:
        """Remove what arrived under that name (`Wanted.run`). Not an error when there is nothing."""
        await self._means.mover.forget(copy)
        for path in self._parts(copy):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def prune(self, going: Collection[str] = ()) -> None:
        """Remove what arrived of images that nobody fetches on with: the old, and what is too much in all.

        Copies of the names ``going`` are left alone, and what a call of `take` works with now.
        """
        facts = await asyncio.to_thread(self._facts)
        kept, oldest = sum(one.size for one in facts), self._means.clock.wall() - KEEP_S
        for one in facts:
            copy = _copy_of(one.path)
            if copy in going or copy in self._turns or (one.changed >= oldest and kept <= self._keep):
                continue
            async with self._turn(copy):  # nobody had it, so there is nothing to wait for
                if await asyncio.to_thread(_dropped, one):
                    await self._means.mover.forget(copy)
            kept -= one.size

    def _facts(self) -> list["_Part"]:
        """Return what arrived, the oldest first."""
        found = (_part(path) for path in self._means.folder.glob("fetch-*"))
        return sorted((one for one in found if one is not None), key=lambda one: one.changed)

    def _turn(self, copy: str) -> asyncio.Lock:
        """Return what whoever works with a copy holds; it is forgotten when nobody does."""
        return self._turns.setdefault(copy, asyncio.Lock())

    def _parts(self, copy: str) -> list[Path]:
        return list(self._means.folder.glob(f"{copy}-*"))

    def _given(self, wanted: Wanted) -> Path:
        """Return the mark that lies beside what arrived from when the cloud is given it."""
        return self._means.folder / f"{wanted.run}-given-0"

    def _file(self, wanted: Wanted, found: DiskRef) -> Path:
        """Return the file for this version of the object; what is of another version is removed."""
        folder = self._means.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = hashlib.sha256(f"{found.identity} {found.size}".encode()).hexdigest()[:16]
        for path in self._parts(wanted.run):
            if path.name.split("-")[2] == version:
                return path
            path.unlink()
        path = folder / f"{wanted.run}-{version}-{self._means.token()}"
        path.touch(mode=0o600)
        return path

    async def _copied(
        self, wanted: Wanted, found: DiskRef, file: Path, report: Callable[[Progress], None]
    ) -> Moved:
        target = DiskRef(kind="file", locator=str(file), size=found.size, identity=file.name)
        read, write = self._ticket(wanted, found, Way.READ), self._ticket(wanted, target, Way.WRITE)
        return await self._means.mover.move(read, write, report)

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


async def _held(wanted: Wanted, store: ImageStore) -> Image | None:
    return next((image for image in await store.images() if image.name == wanted.name), None)


def _copy_of(path: Path) -> str:
    """Return the name of the copy to which a file belongs: `Wanted.run`."""
    return "-".join(path.name.split("-")[:2])


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of what arrived: when it was written to, and how much it holds, in bytes."""

    path: Path
    changed: float
    size: int


def _part(path: Path) -> _Part | None:
    """Return the facts of a file, None when it is gone: others remove what they are done with."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return _Part(path, facts.st_mtime, facts.st_blocks * 512)


def _dropped(part: _Part) -> bool:
    """Remove a file unless it is another than it was; say whether it was removed."""
    if _part(part.path) != part:
        return False
    part.path.unlink(missing_ok=True)
    return True


def _guest_size(file: Path, image_format: str) -> int:
    """Return what a guest sees of an image, in bytes; 0 of a format that is not read."""
    if image_format not in list(Format):
        return 0
    return inspected(Source(file, Format(image_format))).virtual_size


async def _pieces(file: Path, size: int) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while size and (piece := opened.read(min(MIB, size))):
            size -= len(piece)
            yield piece
