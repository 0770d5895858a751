"""The workers that run at a gateway, for whom, and what they said that their site has not heard yet.

A worker belongs to the process of the site that ordered it, its *owner*. While that is not connected the
worker goes on; it ends by itself, by its ticket, or when the same copy is begun again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.gateway.claims import ClaimingPipe
from crossport.gateway.mail import Inbox, Outbox
from crossport.gateway.reach import Reach
from crossport.gateway.seat import Copy, Seat, Tickets
from crossport.gateway.ticket_log import TicketLog
from crossport.gateway.wire import Line, integer, text, texts
from crossport.model import codec
from crossport.model.artifact import DiskRef, Place
from crossport.spi.clock import Clock
from crossport.spi.sealing import Claimant
from crossport.transfer.host import Journal, Pipe, Way
from crossport.transfer.job import failure_line, known
from crossport.transfer.journals import Journals
from crossport.transfer.stock_access import Access
from crossport.transfer.stocks import Stocks

__all__ = ["JOBS_MAX", "Jobs", "StartPipe"]

JOBS_MAX = 256
"""Workers that one gateway runs at once."""
JOBS_KEPT = 4 * JOBS_MAX
"""Those with others that ended, of which the site has not heard yet."""
LINES_MAX = 256
"""Lines that wait for a worker to take them."""
_WAYS: tuple[Way, ...] = ("send", "receive", "digest")

StartPipe = Callable[
    [Way, DiskRef, Place, int, Access | None, tuple[DiskRef, ...]], AbstractAsyncContextManager[Pipe]
]
"""Starts a worker here, with the file of a journal, a stock and images: ``transfer.confined.piped``."""


@dataclass(slots=True)
class _Job:
    owner: str
    id: str
    way: Way
    outbox: Outbox = field(default_factory=Outbox)
    inbox: Inbox = field(default_factory=Inbox)
    copy: Copy | None = None
    lines: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(LINES_MAX))
    task: asyncio.Task[None] | None = None
    leaving: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """What a site says of a worker that it wants."""

    ref: DiskRef
    place: Place
    journal: Journal | None
    stock: str
    published: tuple[DiskRef, ...]

    @classmethod
    def of(cls, message: dict[str, Any]) -> "_Order":
        """Read it; raise Invalid or Broken for what is none."""
        return cls(
            codec.from_plain(known(message.get("ref"), "ref", DiskRef), DiskRef),
            codec.from_plain(known(message.get("place"), "place", Place), Place),
            _journal(message),
            text({"stock": "", **message}, "stock", most=64),
            codec.from_plain(message.get("published", ()), tuple[DiskRef, ...]),
        )


class Jobs:
    """All workers of one gateway. ``seat`` is where it sits, None until its site said so.

    ``draining``: it begins none. ``claimant`` vouches for what they read and wrote, None: nobody does.
    """

    def __init__(
        self,
        start: StartPipe,
        clock: Clock,
        reach: Reach | None = None,
        directory: Path | None = None,
        stock_size: int = 0,
    ) -> None:
        """Keep journals, and the tickets that were shown, in ``directory``; without one only in memory.

        ``stock_size`` bounds what is kept there of the content that passes through; 0: nothing. Without
        ``reach`` all of this machine is, but for that directory.
        """
        self.claimant: Claimant | None = None
        self.seat: Seat | None = None
        self.draining = False
        self._start = start
        self._clock = clock
        self._reach = reach or Reach(directory)
        self._journals = Journals(directory / "journals" if directory else None)
        self._stocks = Stocks(directory / "stocks" if directory else None, stock_size)
        self._stocks.tidy()
        self._tickets = Tickets(TicketLog(directory / "tickets") if directory else None)
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._lines: dict[str, Line] = {}
        self._owners: dict[str, str] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many workers run now."""
        return sum(not job.over for job in self._jobs.values())

    def heard(self) -> dict[str, dict[str, int]]:
        """Return for each owner how far it was heard, by job."""
        found: dict[str, dict[str, int]] = {}
        for job in self._jobs.values():
            found.setdefault(job.owner, {})[job.id] = job.inbox.heard
        return found

    async def connected(self, node: str, owner: str, line: Line, known: dict[str, Any]) -> None:
        """Speak with ``owner``, a process of ``node``, over ``line`` from now on.

        ``known`` says how far it heard of each job; what it does not know any more is ended. What is over and
        was ordered by an earlier process of that node interests nobody.
        """
        self._lines[owner], self._owners[owner] = line, node
        former = {each for each, place in self._owners.items() if place == node and each != owner}
        self._jobs = {key: job for key, job in self._jobs.items() if not (job.over and job.owner in former)}
        for job in self._of(owner):
            if job.id in known:
                job.outbox.heard(integer(known, job.id))
                for message in job.outbox.rest():
                    await self._send(owner, message)
            else:
                self._end_soon(job)

    def gone(self, owner: str, line: Line) -> None:
        """Keep what is said for ``owner``: its line ended."""
        if self._lines.get(owner) is line:
            del self._lines[owner]

    async def take(self, owner: str, message: dict[str, Any]) -> None:
        """Do what ``owner`` says about a job."""
        name = text(message, "job", most=64)
        job = self._jobs.get((owner, name))
        match message.get("do"):
            case "start" | "give" as order:
                number = integer(message, "number")
                await self._send(owner, {"do": "heard", "job": name, "number": number})
                if order == "start" and job is None:
                    job = self._begin(owner, name, message)
                    job.inbox.take(number)
                elif job is not None and job.inbox.take(number) and order == "give":
                    _give(job, text(message, "line").encode())
            case "heard" if job is not None:
                job.outbox.heard(integer(message, "number"))
                self._forget_told(job)
            case "end" if job is not None:
                self._end_soon(job)
            case _:
                return  # of a newer release, or of a job that is over

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(self._end(job) for job in tuple(self._jobs.values())), *self._ending)

    def _of(self, owner: str) -> list[_Job]:
        return [job for job in self._jobs.values() if job.owner == owner]

    def _begin(self, owner: str, name: str, message: dict[str, Any]) -> _Job:
        way = text(message, "way", most=16)
        if way not in _WAYS:
            raise errors.Broken(
                "gateway.message.malformed",
                f"{way} is nothing that a worker does.",
                remedy=errors.SAME_RELEASE,
            )
        if len(self._jobs) >= JOBS_KEPT:
            raise errors.Broken(
                "gateway.jobs.many", "The site begins workers and hears of none.", remedy=errors.SAME_RELEASE
            )
        job = self._jobs[owner, name] = _Job(owner, name, way)
        job.task = asyncio.create_task(self._run(job, message))
        return job

    def shelves(self) -> tuple[str, ...]:
        """Return the shelves on which journals lie."""
        return self._journals.shelves()

    async def forget(self, line: Line, message: dict[str, Any]) -> None:
        """Remove the journals of a run and say so, or shelves of runs that the site does not know."""
        if "run" in message:
            run = text(message, "run", most=256)
            await asyncio.to_thread(self._journals.forget, run)
            await line.send({"do": "forgot", "run": run})
        for name in texts(message, "shelves"):
            await asyncio.to_thread(self._journals.clear, name)

    async def _run(self, job: _Job, message: dict[str, Any]) -> None:
        try:
            order = _Order.of(message)
            if self.draining:
                raise errors.Unavailable(
                    "gateway.draining",
                    "This gateway begins nothing new.",
                    remedy="Let another gateway join this network, or remove this one.",
                )
            if self.running > JOBS_MAX:
                raise errors.Unavailable(
                    "gateway.jobs.full",
                    f"This gateway runs {JOBS_MAX} workers.",
                    remedy="Nothing: it is tried again. For more at once let another gateway join.",
                )
            for ref in (order.ref, *order.published):
                self._reach.check(ref)
            # The site's word for a namespace is of another machine than this one.
            place = replace(order.place, namespace=self._reach.namespace)
            with self._journals.opened(order.journal) as file, self._stocks.opened(order.stock) as access:
                async with self._start(
                    job.way, order.ref, place, file.fileno(), access, order.published
                ) as pipe:
                    claimant = self.claimant
                    await self._served(job, ClaimingPipe(pipe, job.way, claimant) if claimant else pipe)
        except errors.Error as error:
            await self._tell(job, failure_line(error))
        finally:
            job.over = True
            await asyncio.shield(self._tell(job, {"event": "ended"}))
            self._forget_told(job)

    async def _served(self, job: _Job, pipe: Pipe) -> None:
        """Pass on what the worker says and what it is told, until it is done."""
        feeding = asyncio.create_task(self._feed(job, pipe))
        try:
            await self._tell(job, {"event": "started", "certificate": pipe.certificate})
            await self._relay(job, pipe)
        finally:
            job.leaving = True
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding

    async def _relay(self, job: _Job, pipe: Pipe) -> None:
        while True:
            event = await pipe.said()
            await self._tell(job, event)
            if event.get("event") in {"done", "failed"}:
                return

    async def _feed(self, job: _Job, pipe: Pipe) -> None:
        """Hand the worker its lines. The first is its job: it is judged, and ends what was there before."""
        first = await job.lines.get()
        try:
            if self.seat is None:
                raise errors.Unavailable(
                    "gateway.seat.unknown",
                    "This gateway does not know its seat yet.",
                    remedy=errors.TRIED_AGAIN,
                )
            job.copy = self._tickets.admit(job.way, first, self.seat, now=self._clock.wall())
        except errors.Error as error:
            await self._tell(job, failure_line(error))
            self._end_soon(job)
            return
        await self._supersede(job)
        await pipe.give(first)
        while True:
            await pipe.give(await job.lines.get())

    async def _supersede(self, newer: _Job) -> None:
        """End the workers of the same copy that were begun before: they would write beside it."""
        former = [
            job
            for job in self._jobs.values()
            if job is not newer and newer.copy is not None and job.copy == newer.copy and not job.over
        ]
        error = errors.Refused(
            "transfer.ticket.superseded",
            "The same copy was begun again, with this or a higher epoch.",
            remedy="Nothing: the copy that was begun later goes on.",
        )
        for job in former:
            await self._tell(job, failure_line(error))
            await self._end(job)

    def _end_soon(self, job: _Job) -> None:
        """End a worker without waiting for it: its storage may hang, and others are served meanwhile."""
        task = asyncio.create_task(self._end(job))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, job: _Job) -> None:
        if job.task is not None:
            # A worker that is just ending must not be disturbed: it is gone only when its task is.
            if not job.leaving:
                job.leaving = True
                job.task.cancel()
            await asyncio.wait({job.task})
        if not job.over:  # it was ended before it began
            job.over = True
            await self._tell(job, {"event": "ended"})
        self._forget_told(job)

    def _forget_told(self, job: _Job) -> None:
        if job.over and not job.outbox.rest():
            self._jobs.pop((job.owner, job.id), None)

    async def _tell(self, job: _Job, event: dict[str, Any]) -> None:
        message = {"do": "told", "job": job.id, "event": event}
        progress = event.get("event") == "progress"
        await self._send(job.owner, job.outbox.add(message, instead=progress))

    async def _send(self, owner: str, message: dict[str, Any]) -> None:
        line = self._lines.get(owner)
        if line is not None:
            with contextlib.suppress(errors.Unavailable):  # what is kept is sent again on the next line
                await line.send(message)


def _give(job: _Job, line: bytes) -> None:
    if job.over or job.leaving:
        return
    try:
        job.lines.put_nowait(line)
    except asyncio.QueueFull as error:
        raise errors.Broken(
            "gateway.lines.many", "The site says more than a worker takes.", remedy=errors.SAME_RELEASE
        ) from error


def _journal(message: dict[str, Any]) -> Journal | None:
    """Return whose journal an order names; a site of an older release names none."""
    named = message.get("journal")
    if named is None:
        return None
    if not isinstance(named, list) or [type(part) for part in named] != [str, str]:  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
        raise errors.Broken(
            "gateway.message.malformed", "The site named no journal.", remedy=errors.SAME_RELEASE
        )
    run, artifact = named  # pyright: ignore[reportUnknownVariableType]
    return str(run), str(artifact)  # pyright: ignore[reportUnknownArgumentType]
