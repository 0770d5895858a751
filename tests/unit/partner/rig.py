"""Two sites in one process, each with its own authority and book, over the real link on loopback."""

import asyncio
import dataclasses
import time
from pathlib import Path

from crossport.identity import SiteIdentity
from crossport.identity.partners import KeptPartners
from crossport.model.partner import Partner, PartnerState
from crossport.partner.badge import Badge
from crossport.partner.link import HttpsLink
from crossport.partner.listener import Listener, listener_on
from crossport.partner.operations import Operations
from crossport.partner.reception import Reception
from crossport.partner.refusals import Refusals
from crossport.partner.watch import Watch
from crossport.testing.audit import MemoryAudit
from crossport.testing.document import MemoryDocuments

__all__ = ["MachineClock", "Site", "befriend"]


class MachineClock:
    """The machine's own time, ``ahead_s`` later by the wall."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


class Site:
    """One end. `open` it, `close` it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.clock = MachineClock()
        self.identity = SiteIdentity.open(folder / name, name, clock=self.clock)
        self.documents = MemoryDocuments()
        self.book = KeptPartners(lambda: self.documents, self.clock)
        self.badge = Badge(self.identity, self.clock)
        self.operations, self.early = Operations(), Operations()
        self.exchanged = list[tuple[str, bytes]]()
        self.audit = MemoryAudit()
        refusals = Refusals(lambda: self.audit, self.clock.monotonic)
        reception = Reception(self.book, (self.operations, self.early), self._exchange, refusals)
        self.listener = Listener(self.badge, reception)
        self.link = HttpsLink(self.book, self.badge)
        self.watch = Watch(self.book, self.listener, self.link, self.clock)
        self.answer, self.converse = self.operations.answer, self.operations.converse
        self.call, self.stream = self.link.call, self.link.stream
        self._socket = listener_on("127.0.0.1", 0)
        self._tasks = list[asyncio.Task[None]]()
        self.address = ""

    async def _exchange(self, invitation: str, body: bytes) -> bytes:
        self.exchanged.append((invitation, body))
        return b'"exchanged"'

    async def open(self) -> "Site":
        """Listen."""
        listening = self._socket.__enter__()
        self.address = f"https://127.0.0.1:{listening.getsockname()[1]}"
        await self.watch.look()
        self._tasks = [
            asyncio.create_task(self.listener.accept(listening)),
            asyncio.create_task(self.watch.run()),
        ]
        return self

    async def close(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.link.close()
        self._socket.__exit__(None, None, None)

    def partner(self, state: PartnerState = PartnerState.ACCEPTED) -> Partner:
        """Return this site as another one may know it."""
        now = self.clock.wall()
        return Partner(
            name=self.name,
            authorities=(self.identity.authority_pem,),
            address=self.address,
            root="",
            roles="",
            state=state,
            since=now,
            changed=now,
            refreshed=now,
        )

    async def turn(self, partner: str, state: PartnerState) -> None:
        """Let a partner be in a state."""
        await self.book.change(partner, lambda known: dataclasses.replace(known, state=state))


async def befriend(one: Site, other: Site) -> None:
    """Let two sites be partners."""
    await one.book.add(other.partner())
    await other.book.add(one.partner())
    await one.watch.look()
    await other.watch.look()
