"""Workers of this site for the copies that a partner initiated: started for its tickets, judged, and ended.

Nothing that a partner says starts more than one worker for each ticket, names a disk, or outlives the stream
over which it speaks.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import Way as Direction
from crossport.model.partner import Partner
from crossport.spi.clock import Clock
from crossport.spi.partner import Lines
from crossport.transfer.egress import Guard
from crossport.transfer.host import Way, Worker, WorkerHost, journal_of
from crossport.transfer.job import MAX_LINE, failure_line
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.partner import talk
from crossport.transfer.partner.grant import Given, Tickets
from crossport.transfer.partner.proposal import Bounds, judged

__all__ = ["WORKERS_MAX", "PartnerWorkers", "Serving"]

WORKERS_MAX = 64
"""Workers that one node runs for one partner at once."""
JOB_S = 60.0
"""How long a partner may take to tell the job: the other end's worker has to start meanwhile."""
STALLED_S = 30.0
"""How long a partner may take no line."""
_OPENING_MAX = 4 << 10
_ORDER_MAX = 1 << 10
_WAY: dict[Direction, Way] = {Direction.READ: "send", Direction.WRITE: "receive"}
_PATH = re.compile(r"(?<![\w/])(?:/[\w.+@~-]+){2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What workers for partners are started with. ``names`` chooses the keys of what is received here."""

    host: WorkerHost
    tickets: Tickets
    clock: Clock
    names: NameKeys | None = None
    egress: Guard | None = None
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(eq=False, slots=True)
class _Running:
    partner: str
    given: Given
    task: asyncio.Task[None]


class PartnerWorkers:
    """The workers that this node runs for partners."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._running: list[_Running] = []

    @property
    def count(self) -> int:
        """How many run now."""
        return len(self._running)

    async def converse(self, partner: Partner, opening: bytes, lines: Lines) -> None:
        """Start one worker for a ticket that ``partner`` holds, and speak for it until it is gone.

        Returns when the worker ended, or the partner did. What fails is told as the worker's own failure.
        """
        try:
            given = await self._admitted(partner.name, opening)
            await self._served(partner.name, given, lines)
        except errors.Error as error:
            await _tell(lines, _outward(failure_line(error)))
        await _tell(lines, {"event": "ended"})

    async def forget(self, run: str) -> None:
        """End the workers of this site's ``run``, and let no ticket of it start another."""
        await self._serving.tickets.forget(run)
        await self._end(lambda one: one.given.ticket.run == run)

    async def _admitted(self, partner: str, opening: bytes) -> Given:
        if len(opening) > _OPENING_MAX:
            raise errors.Broken(
                "partner.worker.malformed", "The partner's opening is too long.", remedy=errors.SAME_RELEASE
            )
        asked = codec.decoded(opening, talk.Opening)
        if asked.version != talk.VERSION:
            raise errors.Refused(
                "partner.worker.version",
                f"The partner speaks of workers in version {asked.version}, this site in {talk.VERSION}.",
                remedy="Update the site of the older release.",
            )
        if sum(one.partner == partner for one in self._running) >= WORKERS_MAX:
            raise errors.Unavailable(
                "partner.workers.full",
                f"{WORKERS_MAX} workers run here for {partner}.",
                remedy="Nothing: it is tried again. Let fewer copies run at once.",
            )
        return await self._serving.tickets.admit(partner, asked.ticket, asked.way)

    async def _served(self, partner: str, given: Given, lines: Lines) -> None:
        """Run the worker in a task of its own, so that who comes later for the same copy can end it."""
        task = asyncio.create_task(self._after_others(partner, given, lines))
        running = _Running(partner, given, task)
        self._running.append(running)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._running.remove(running)
        if task.cancelled():
            raise errors.Refused(
                "transfer.ticket.superseded",
                "The same copy was begun again, or its run has ended.",
                remedy="Nothing: the copy that was begun later goes on.",
            )
        task.result()

    async def _after_others(self, partner: str, given: Given, lines: Lines) -> None:
        own = asyncio.current_task()
        await self._end(lambda one: one.task is not own and _copy(one.given) == _copy(given))
        async with self._worker(partner, given) as worker:
            line = await self._job(lines, worker, partner, given)
            await worker.give(line)
            await self._relayed(worker, lines)

    @contextlib.asynccontextmanager
    async def _worker(self, partner: str, given: Given) -> AsyncGenerator[Worker]:
        serving, ticket = self._serving, given.ticket
        receives = ticket.way is Direction.WRITE
        stock = serving.names.stock(ticket.tenant, partner) if receives and serving.names else ""
        started = serving.host.started(
            _WAY[ticket.way], ticket.ref, ticket.place, journal_of(ticket), stock, ticket.published
        )
        async with started as worker:
            worker.egress = serving.egress  # whatever the partner would say to that
            yield worker

    async def _job(self, lines: Lines, worker: Worker, partner: str, given: Given) -> bytes:
        """Tell that the worker runs; return its job, as it is done here."""
        names = self._serving.names
        receives = given.ticket.way is Direction.WRITE
        key = names.key(given.ticket.tenant, partner) if names and receives else b""
        begun = {"event": "started", "certificate": worker.certificate, "names_key": key.hex()}
        await _send(lines, begun)
        try:
            async with asyncio.timeout(JOB_S):
                line = await lines.receive()
        except TimeoutError as error:
            raise errors.Unavailable(
                "partner.job.late",
                f"{partner} told no job within {JOB_S:.0f} s.",
                remedy=errors.TRIED_AGAIN,
            ) from error
        if line is None or len(line) > MAX_LINE:
            raise errors.Unavailable("partner.job.late", f"{partner} told no job.", remedy=errors.TRIED_AGAIN)
        return judged(line, given, key, self._serving.bounds).line()

    async def _relayed(self, worker: Worker, lines: Lines) -> None:
        """Pass on what both say, until the worker is done or the partner wants no more."""
        telling = asyncio.ensure_future(_told(worker, lines))
        obeying = asyncio.ensure_future(self._obeyed(worker, lines))
        try:
            done, _ = await asyncio.wait({telling, obeying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, obeying):
                task.cancel()
            await asyncio.gather(telling, obeying, return_exceptions=True)
        for task in done:
            task.result()

    async def _obeyed(self, worker: Worker, lines: Lines) -> None:
        """Do what the partner says about the worker: how fast it may be, and that it ends."""
        pace = talk.Pace(self._serving.clock.monotonic)
        while order := await talk.said(lines, pace, _ORDER_MAX):
            match order.get("do"):
                case "rate":
                    await worker.give(json.dumps({"do": "rate", "bps": _rate(order)}).encode() + b"\n")
                case "end":
                    return
                case _:
                    continue  # of a newer release

    async def _end(self, wanted: Callable[[_Running], bool]) -> None:
        ending = {one.task for one in self._running if wanted(one)}
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)


async def _told(worker: Worker, lines: Lines) -> None:
    while True:
        event = await worker.said()
        await _send(lines, _outward(event))
        if event.get("event") in {"done", "failed"}:
            return


async def _tell(lines: Lines, event: dict[str, Any]) -> None:
    with contextlib.suppress(errors.Unavailable):  # then the partner knows already that it is over
        await _send(lines, event)


async def _send(lines: Lines, event: dict[str, Any]) -> None:
    """Tell the partner; raise Unavailable when it takes nothing: a worker does not wait for it for ever."""
    try:
        async with asyncio.timeout(STALLED_S):
            await lines.send(json.dumps(event).encode())
    except TimeoutError as error:
        raise errors.Unavailable(
            "partner.line.stalled", "The partner takes nothing.", remedy=errors.TRIED_AGAIN
        ) from error


def _outward(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as a partner hears it: a failure does not tell where things lie here."""
    if event.get("event") != "failed":
        return event
    words = {name: _PATH.sub("(a path)", str(event.get(name, ""))) for name in ("text", "remedy", "field")}
    return {**event, **words}


def _rate(order: dict[str, Any]) -> int | None:
    bps = order.get("bps")
    if bps is None or (type(bps) is int and 0 < bps < 1 << 53):
        return bps
    raise errors.Broken(
        "partner.worker.malformed", "The partner told no sound rate.", remedy=errors.SAME_RELEASE
    )


def _copy(given: Given) -> tuple[str, ...]:
    ticket = given.ticket
    return (given.partner, ticket.tenant, ticket.run, ticket.artifact, ticket.way.value)
