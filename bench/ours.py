"""One copy by Crossport between two namespaces, as migrations make it: two confined workers and a journal."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossport.app.clock import SystemClock
from crossport.model.artifact import DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.transfer import host
from crossport.transfer.confined import piped
from crossport.transfer.host import Journal, Pipe, Worker
from crossport.transfer.journals import Journals
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.simple import SimpleMover
from crossport.transfer.stocks import Stocks
from link import SOURCE, TARGET, Ends

__all__ = ["Copier"]


class Copier:
    """Copies ``source`` to ``target`` as often as it is told; each time only what differs from the last.

    ``copy_seconds`` is the time of the last copy from connecting until all was durable and verified, without
    the start of the workers, and ``first_byte_s`` the time until the target was told to hold something new,
    with it; ``pids`` are those of the workers that run.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        ends: Ends,
        journals: Path,
        stocks: Stocks | None = None,
        image: Path | None = None,
    ) -> None:
        """``journals`` is the directory where what arrived is noted; ``stocks`` keep what passes through.

        ``image`` is published to the target.
        """
        self.copy_seconds = 0.0
        self.first_byte_s: float | None = None
        self.pids = dict[host.Way, int]()
        size = source.stat().st_size
        self._read = _ticket(Way.READ, source, size, _place("alpha", SOURCE, ends.source))
        write = _ticket(Way.WRITE, target, size, _place("beta", TARGET, ends.target))
        published = (_disk(image, image.stat().st_size),) if image else ()
        self._write = replace(write, published=published)
        starter = _Host(journals, stocks or Stocks(None, 0), self)
        self._mover = SimpleMover(starter, SystemClock(), names=NameKeys(bytes(32)))

    async def copied(self) -> Moved:
        """Copy; raise Unavailable when a worker died."""
        began, self.first_byte_s = time.monotonic(), None

        def heard(progress: Progress) -> None:
            if self.first_byte_s is None and progress.counters.written:
                self.first_byte_s = time.monotonic() - began

        return await self._mover.move(self._read, self._write, heard)


class _Host:
    """Starts workers on this machine, and tells a copier of them."""

    def __init__(self, journals: Path, stocks: Stocks, copier: Copier) -> None:
        self._journals = Journals(journals)
        self._stocks = stocks
        self._copier = copier

    @asynccontextmanager
    async def started(
        self,
        way: host.Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        with self._journals.opened(journal) as file, self._stocks.opened(stock) as access:
            async with piped(way, ref, place, file.fileno(), access, published) as pipe:
                self._copier.pids[way] = pipe.process.pid
                yield _Timed(pipe, self._copier)

    async def forget(self, run: str) -> None:
        self._journals.forget(run)


class _Timed(Worker):
    """A worker that tells a copier how long its part took."""

    def __init__(self, pipe: Pipe, copier: Copier) -> None:
        super().__init__(pipe)
        self._copier = copier

    async def event(self, name: str, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        said = await super().event(name, on_progress)
        if "took_us" in said:  # the sender's last word
            self._copier.copy_seconds = said["took_us"] / 1e6
        return said


def _place(cloud: str, address: str, namespace: str) -> Place:
    return Place(cloud=cloud, subnet="bench", address=address, namespace=namespace)


def _disk(path: Path, size: int) -> DiskRef:
    return DiskRef(kind="file", locator=str(path), size=size, identity=f"bench-{path.name}")


def _ticket(way: Way, path: Path, size: int, place: Place) -> Ticket:
    return Ticket(
        id=f"bench-{way}",
        tenant="bench",
        run="bench",
        epoch=1,
        artifact="disk-0",
        way=way,
        ref=_disk(path, size),
        place=place,
        byte_budget=size,
        expires=time.time() + 3600,
        nonce=f"bench-{way}",
    )
