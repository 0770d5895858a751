"""Workers at a partner, for the mover of this site: the partner starts them, for tickets that it gave."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import DiskRef, Place
from crossport.model.artifact import Way as Direction
from crossport.spi.clock import Clock
from crossport.spi.partner import Lines, PartnerLink
from crossport.transfer.host import Journal, Way, Worker
from crossport.transfer.job import failure_from
from crossport.transfer.partner import talk
from crossport.transfer.partner.reference import PARTNER

__all__ = ["PartnerHost"]

START_S = 60.0
"""How long a partner may take to start a worker; its gateway may take half of it."""
SILENT_S = 60.0
END_S, END_SILENT_S = 50.0, 2.0
"""How long a partner may take to say that a worker is gone; its gateway may take 45 s. One that hangs has
little: the link may be cut, and whoever begins the same copy again ends that worker."""
EVENT_MAX = 32 << 10
"""Bytes of what a partner's worker says at once."""
_DIRECTION: dict[Way, Direction] = {"send": Direction.READ, "receive": Direction.WRITE}
_EVENTS = {"listening", "progress", "done", "failed"}
_KEY = 32


class _PartnerPipe:
    """The way to a worker at a partner, as `crossport.transfer.host.Pipe`."""

    def __init__(self, name: str, lines: Lines, pace: talk.Pace) -> None:
        self.name = name
        self.certificate = ""
        self._lines = lines
        self._pace = pace
        self._end_s = END_S

    async def give(self, line: bytes) -> None:
        """Hand the worker a line; that the partner is gone is told by what it says next."""
        with contextlib.suppress(errors.Unavailable):
            await self._lines.send(line.rstrip(b"\n"))

    async def said(self) -> dict[str, Any]:
        """Return what the worker says next; raise Unavailable when its site is away or hangs."""
        told = await self._next(SILENT_S)
        if told.get("event") not in _EVENTS:
            raise errors.Broken(
                "partner.worker.malformed",
                f"{self.name} said {str(told.get('event'))[:40]!r}.",
                remedy=errors.SAME_RELEASE,
            )
        return told

    async def begun(self) -> bytes:
        """Return the key of the names that the partner chose, once its worker runs; raise what it says."""
        started = await self._next(START_S)
        if started.get("event") == "failed":
            raise failure_from(started)
        certificate, key = started.get("certificate"), started.get("names_key", "")
        try:
            names_key = bytes.fromhex(key)
        except (ValueError, TypeError):
            names_key = b"?"
        if not isinstance(certificate, str) or len(names_key) not in {0, _KEY}:
            raise errors.Broken(
                "partner.worker.malformed",
                f"{self.name} began without a certificate.",
                remedy=errors.SAME_RELEASE,
            )
        self.certificate = certificate
        return names_key

    async def end(self) -> None:
        """End the worker; return when it is gone, or when its site cannot say so."""
        await self.give(json.dumps({"do": "end"}).encode())
        with contextlib.suppress(TimeoutError, errors.Error):
            async with asyncio.timeout(self._end_s):
                while (await self._next(self._end_s)).get("event") != "ended":
                    pass

    async def _next(self, patience_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(patience_s):
                told = await talk.said(self._lines, self._pace, EVENT_MAX)
        except TimeoutError as error:
            self._end_s = END_SILENT_S
            raise errors.Unavailable(
                "transfer.worker.silent", f"{self.name} hangs.", remedy=errors.TRIED_AGAIN
            ) from error
        if told is None:
            raise errors.Unavailable(
                "transfer.worker.died",
                f"{self.name} is gone.",
                remedy="Try again: the copy goes on with what had arrived.",
            )
        return told


class PartnerHost:
    """Implements `crossport.transfer.host.WorkerHost` for the places of partners."""

    def __init__(self, link: PartnerLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock

    @contextlib.asynccontextmanager
    async def started(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        """Start a worker for the ticket that ``ref`` stands for. Journal, stock and images are its site's."""
        del journal, stock, published
        direction = _DIRECTION.get(way)
        if ref.kind != PARTNER or direction is None:
            raise errors.Refused(
                "transfer.ticket.foreign",
                f"{place.site} gave no ticket to {way} this.",
                remedy=errors.REPORT,
            )
        opening = talk.Opening(ticket=ref.locator, way=direction)
        async with self._link.stream(place.site, talk.OPERATION, codec.encoded(opening).encode()) as lines:
            pipe = _PartnerPipe(
                f"the {way} worker at {place.called}", lines, talk.Pace(self._clock.monotonic)
            )
            try:
                names_key = await pipe.begun()
                yield Worker(pipe, names_key)
            finally:
                await asyncio.shield(asyncio.ensure_future(pipe.end()))

    async def forget(self, run: str) -> None:
        """Nothing: each site forgets what it keeps of a run when it cleans its own end."""
        del run
