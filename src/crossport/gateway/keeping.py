"""The site's ledger of journals: which gateway keeps one of which run, and which of them is to be forgotten.

An entry is written before a worker is started with a journal, and goes when the gateway said that it forgot
it. So a gateway that was away when a run ended is told when it comes back; what it keeps without an entry is
of no run of this site. Once two of them had a journal of one run, neither need say what the disks hold now:
what is read back is then read whole.
"""

import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, replace

from crossport import errors
from crossport.model.record import record
from crossport.spi.document import Document, Documents
from crossport.transfer.host import Journal, Way
from crossport.transfer.journals import shelf

__all__ = ["Keeping", "Unwanted"]

_KIND = "gateway-journal"
_TRIES = 20
_SEVERAL = ""
"""In the place of a gateway: several had a journal of the run, whichever of them are left."""


@record()
class _Kept:
    """``reads``: what is kept there says nothing of the disk that is written."""

    run: str
    gateway: str
    forget: bool = False
    reads: bool = False


@dataclass(frozen=True, slots=True)
class Unwanted:
    """What a gateway is to forget: runs by their ids, and shelves of runs that nobody knows."""

    runs: tuple[str, ...] = ()
    shelves: tuple[str, ...] = ()


class Keeping:
    """Keeps the ledger in the site's documents; ``documents`` is asked at each use."""

    def __init__(self, documents: Callable[[], Documents]) -> None:
        self._documents = documents

    async def journal(self, gateway: str, way: Way, journal: Journal | None) -> Journal | None:
        """Return the journal that a worker at ``gateway`` may go on with, and note that it is there.

        None for one that reads back, when another gateway may have written since.
        """
        if journal is None or (way == "digest" and not await self._alone(gateway, journal[0])):
            return None
        if way == "send":
            await self._keeps_book(gateway, journal[0])
        else:
            await self.keeps(gateway, journal[0])
        return journal

    async def _keeps_book(self, gateway: str, run: str) -> None:
        """Note that the book of what is read for ``run`` is about to be at ``gateway``."""
        book = _Kept(run=run, gateway=gateway, reads=True)
        await self._note(book, lambda kept: kept is not None and not kept.forget)

    async def keeps(self, gateway: str, run: str) -> None:
        """Note that a journal of ``run`` is about to be at ``gateway``."""
        if not await self._alone(gateway, run):
            await self._note(_Kept(run=run, gateway=_SEVERAL))
        await self._note(_Kept(run=run, gateway=gateway))

    async def _note(self, entry: _Kept, enough: Callable[[_Kept | None], bool] = lambda kept: False) -> None:
        """Write ``entry`` unless what is there is ``enough``. Both ends of a copy may write at one moment."""
        key = _key(entry.gateway, entry.run)
        for attempt in itertools.count(1):
            kept, generation = None, 0
            with contextlib.suppress(errors.NotFound):
                found = await self._documents().fetch(_KIND, key, _Kept)
                kept, generation = found.value, found.generation
            if kept == entry or enough(kept):
                return
            try:
                await self._documents().put(_KIND, key, entry, generation=generation)
            except errors.Conflict:
                if attempt == _TRIES:
                    raise
            else:
                return

    async def forget(self, run: str) -> None:
        """Note that no gateway shall keep anything of ``run``."""
        async for kept in self._all(f"{run}/"):
            if kept.value.run != run or kept.value.forget:
                continue
            if kept.value.gateway == _SEVERAL:
                await self._documents().delete(_KIND, kept.key)
            else:
                await self._documents().put(_KIND, kept.key, replace(kept.value, forget=True))

    async def forgot(self, gateway: str, run: str) -> None:
        """Take the entry out, unless the run has begun anew there."""
        try:
            kept = await self._documents().fetch(_KIND, _key(gateway, run), _Kept)
            if kept.value.forget:
                await self._documents().delete(_KIND, kept.key, generation=kept.generation)
        except (errors.NotFound, errors.Conflict):
            return

    async def unwanted(self, gateway: str, shelves: Collection[str] = ()) -> Unwanted:
        """Return what ``gateway``, which said that it keeps these ``shelves``, is to forget.

        What it keeps must have been told before this is called: an entry is always older than its shelf.
        """
        known = {kept.value.run: kept.value async for kept in self._all() if kept.value.gateway == gateway}
        names = {shelf(run) for run in known}
        return Unwanted(
            runs=tuple(run for run, kept in known.items() if kept.forget),
            shelves=tuple(name for name in shelves if name not in names),
        )

    async def left(self, gateway: str) -> None:
        """Take out all entries of a gateway that will not come back."""
        async for kept in self._all():
            if kept.value.gateway == gateway:
                await self._documents().delete(_KIND, kept.key)

    async def _alone(self, gateway: str, run: str) -> bool:
        found = [kept.value async for kept in self._all(f"{run}/")]
        return all(one.gateway == gateway or one.reads for one in found if one.run == run)

    async def _all(self, prefix: str = "") -> AsyncGenerator[Document[_Kept]]:
        after = ""
        while batch := await self._documents().list(_KIND, _Kept, prefix=prefix, after=after):
            for kept in batch:
                yield kept
            after = batch[-1].key


def _key(gateway: str, run: str) -> str:
    return f"{run}/{gateway}"
