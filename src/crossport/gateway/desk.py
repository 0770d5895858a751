"""One gateway as its site sees it: the connection, while there is one, and the workers that run there.

A desk outlives its connection. What was said meanwhile is said again on the next one, unless the gateway
was started anew in between: then its workers are gone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from crossport import errors
from crossport.gateway.join import Nodes
from crossport.gateway.mail import Inbox, Outbox
from crossport.gateway.wire import Line, integer, text
from crossport.model.artifact import DiskRef, Place
from crossport.model.record import sparse
from crossport.spi.clock import Clock
from crossport.transfer.host import Journal, Way, Worker
from crossport.transfer.job import failure_line

__all__ = ["AWAY_S", "Desk", "RemotePipe"]

AWAY_S = 6 * 3600.0
"""How long a gateway may be away before its copies are given up; their tickets end them there before."""
LOOK_S = 5.0
START_S = 30.0
"""How long a gateway may take to start a worker."""
END_S = 45.0
"""How long a gateway may take to end one; it gives the worker itself 30 s."""
COUNT_S = 3.0
"""How long a gateway may take to say what runs there."""
RENEW_S = 30.0
"""How often a gateway may have a new certificate: each costs the authority a signature."""
TOLD_MAX = 64
"""Events besides progress that wait to be read: a worker that is well tells five in all."""


class RemotePipe:
    """The way to a worker that runs at a gateway, as `crossport.transfer.host.Pipe`."""

    def __init__(self, desk: "Desk", job: str, name: str) -> None:
        self.name = name
        self.certificate = ""
        self.job = job
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.ended = asyncio.Event()
        self._desk = desk
        self._told: deque[dict[str, Any]] = deque()
        self._some = asyncio.Event()

    async def give(self, line: bytes) -> None:
        """Hand the worker a line, now or when its gateway is there again."""
        await self.send({"do": "give", "job": self.job, "line": line.decode()})

    async def send(self, message: dict[str, Any]) -> None:
        """Send and keep a message about this job."""
        await self._desk.send(self.outbox.add(message))

    async def said(self) -> dict[str, Any]:
        """Return what the worker says next; raise Unavailable when its gateway is away for too long."""
        while not self._told:
            self._some.clear()
            await _first(self._some, LOOK_S)
            if not self._told:
                await self._desk.check_presence()
        return self._told.popleft()

    async def begun(self) -> None:
        """Return when the worker runs; raise what stood in its way."""
        try:
            async with asyncio.timeout(START_S):
                started = await Worker(self).event("started")
        except TimeoutError as error:
            raise errors.Unavailable(
                "gateway.start.late",
                f"{self.name} did not begin within {START_S:.0f} s.",
                remedy="The gateway's machine is busy, or its connection broke; the copy is tried again.",
            ) from error
        self.certificate = text(started, "certificate", most=1 << 14)

    def tell(self, event: dict[str, Any]) -> None:
        """Take what the gateway told; a newer progress replaces one that nobody has read yet."""
        if event.get("event") == "ended":
            self.ended.set()
        if event.get("event") == "progress" and self._told and self._told[-1].get("event") == "progress":
            self._told.pop()
        if len(self._told) >= TOLD_MAX:
            raise errors.Broken(
                "gateway.told.much", f"{self.name} says more than anybody reads.", remedy=errors.SAME_RELEASE
            )
        self._told.append(event)
        self._some.set()

    def lose(self, error: errors.Error) -> None:
        """Tell that the worker is gone, and nothing of what it said before."""
        self._told.clear()
        self.tell(failure_line(error))
        self.tell({"event": "ended"})


class Desk:
    """The site's end of one gateway. ``pipes`` are the ways to its workers, by job; ``listed`` says whether
    the site still has it. ``claims``: it vouches for what its workers read and write."""

    def __init__(self, gateway: str, clock: Clock, listed: Callable[[], Awaitable[bool]]) -> None:
        self.gateway = gateway
        self.boot = ""
        self.release = ""
        self.claims = False
        self.pipes: dict[str, RemotePipe] = {}
        self.reported = 0
        self._asked, self._told_of = 0, 0
        self._counted = asyncio.Condition()
        self._clock = clock
        self._listed = listed
        self._line: Line | None = None
        self._seen = clock.monotonic()
        self._number = 0
        self._renewed = -RENEW_S

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._line is not None

    @property
    def seen(self) -> float:
        """When it was connected last, by the monotonic clock."""
        return self._clock.monotonic() if self.connected else self._seen

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message, if somebody is there to hear it."""
        if self._line is not None:
            with contextlib.suppress(errors.Unavailable):  # what is kept is sent again on the next one
                await self._line.send(message)

    async def attach(self, line: Line, boot: str, heard: Mapping[str, Any]) -> None:
        """Take a new connection; ``heard`` says how far the gateway heard of each of its jobs.

        Raise Conflict (``gateway.id.taken``) when another process of this gateway is connected.
        """
        former = self._line
        if former is not None and boot != self.boot:
            raise errors.Conflict(
                "gateway.id.taken",
                f"Gateway {self.gateway} is connected already, from another process.",
                remedy="One gateway is one process on one machine. Enroll another one for the other machine.",
            )
        if boot != self.boot:
            self._lose(tuple(self.pipes))
        self.boot, self._line = boot, line
        if former is not None:
            await former.close()
        self._lose(tuple(job for job in self.pipes if job not in heard and self.pipes[job].certificate))
        for job, pipe in self.pipes.items():
            pipe.outbox.heard(integer(dict(heard), job) if job in heard else 0)

    async def replay(self) -> None:
        """Say again what the gateway did not hear."""
        for pipe in tuple(self.pipes.values()):
            for message in pipe.outbox.rest():
                await self.send(message)

    def detach(self, line: Line) -> None:
        """Forget a connection that ended, unless there is a newer one."""
        if self._line is line:
            self._line = None
            self._seen = self._clock.monotonic()

    async def cut(self) -> None:
        """End the connection, if there is one."""
        if self._line is not None:
            await self._line.close()

    async def ask(self, nodes: Nodes) -> None:
        """Ask the gateway whether it is there, and tell it of the site's nodes."""
        self._asked += 1
        await self.send({"do": "ping", "nodes": nodes, "ask": self._asked})

    async def answered(self, pong: dict[str, Any]) -> None:
        """Take the answer to that: how many workers run there."""
        async with self._counted:
            self.reported = integer(pong, "jobs")
            # One of an older release does not say which question it answers.
            self._told_of = integer(pong, "ask") if "ask" in pong else self._asked
            self._counted.notify_all()

    async def count(self, nodes: Nodes) -> None:
        """Ask, and wait a moment for the answer."""
        if not self.connected:
            return
        await self.ask(nodes)
        asked = self._asked
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_S), self._counted:
                await self._counted.wait_for(lambda: self._told_of >= asked)

    def may_renew(self) -> bool:
        """Say whether the gateway may have a new certificate now; if so, not once more for `RENEW_S`."""
        now = self._clock.monotonic()
        if now - self._renewed < RENEW_S:
            return False
        self._renewed = now
        return True

    async def check_presence(self) -> None:
        """Raise Unavailable (``gateway.away``) when the gateway is away for too long, or was removed."""
        if self.connected:
            return
        if self._clock.monotonic() - self._seen > AWAY_S or not await self._is_listed():
            raise away(self.gateway)

    async def _is_listed(self) -> bool:
        try:
            return await self._listed()
        except errors.Unavailable:
            return True  # nobody can say now; it is asked again in a moment

    async def open(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> RemotePipe:
        """Order a worker; one that receives goes on with ``journal``, and takes from the others."""
        self._number += 1
        job = f"{self._number}"
        pipe = self.pipes[job] = RemotePipe(self, job, f"the {way} worker at gateway {self.gateway}")
        order = {"do": "start", "job": job, "way": way, "ref": sparse(ref), "place": sparse(place)}
        named: dict[str, Any] = {"stock": stock} if stock else {}
        named |= {"published": [sparse(one) for one in published]} if published else {}
        await pipe.send(order | named | ({"journal": list(journal)} if journal else {}))
        return pipe

    async def end(self, pipe: RemotePipe) -> None:
        """End a worker; return when it is gone, or when its gateway cannot say so now."""
        await self.send({"do": "end", "job": pipe.job})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                while self.connected and not pipe.ended.is_set():
                    await _first(pipe.ended, LOOK_S)
        self.pipes.pop(pipe.job, None)

    async def take(self, message: dict[str, Any]) -> None:
        """Take what the gateway says of a job."""
        job = text(message, "job", most=64)
        pipe = self.pipes.get(job)
        match message.get("do"):
            case "told":
                number, event = integer(message, "number"), message.get("event")
                if not isinstance(event, dict):
                    raise errors.Broken(
                        "gateway.message.malformed", "A gateway told no event.", remedy=errors.SAME_RELEASE
                    )
                await self.send({"do": "heard", "job": job, "number": number})
                if pipe is not None and pipe.inbox.take(number):
                    pipe.tell(event)  # pyright: ignore[reportUnknownArgumentType]
            case "heard" if pipe is not None:
                pipe.outbox.heard(integer(message, "number"))
            case _:
                return  # of a newer release, or of a job that is over

    def _lose(self, jobs: tuple[str, ...]) -> None:
        gone = errors.Unavailable(
            "transfer.worker.died",
            f"Gateway {self.gateway} was started anew in the middle of the copy.",
            remedy="The copy goes on when it is tried again.",
        )
        for job in jobs:
            self.pipes[job].lose(gone)


def away(gateway: str) -> errors.Unavailable:
    """Return the error for a gateway that is not there."""
    return errors.Unavailable(
        "gateway.away",
        f"Gateway {gateway} is not connected to this site.",
        remedy="See that `crossport gateway run` runs on its machine; its log says what it cannot reach.",
    )


async def _first(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
