"""Two sites and the link between them, which loses, repeats, forges and delays, while either may die.

A message that is late comes when its sender no longer waits for it: among later ones, in a later epoch, or
when all is over. A serving site dies before or after any change of its documents or clouds, and starts again
with what was durable.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tests.simulation.fate import Fate
from tests.unit.migration.two_sites import FarMover, Keys, LosingDocuments, SimulatedSite
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.migration.partner.calls import Discard, OpenUp, Permit, PrepareCommit, Release, Withdraw
from crossport.model import codec
from crossport.model.message import Envelope, Reply
from crossport.model.permit import Stated, Statement, StatementKind
from crossport.spi.document import Document
from crossport.testing.partner import Fate as Passage
from crossport.testing.partner import MemorySite, MemoryWorld

__all__ = ["FarFate", "FarSite", "FarWorld"]

STATED = {
    PrepareCommit.OPERATION: StatementKind.PREPARED,
    Permit.OPERATION: StatementKind.START_PERMITTED,
    OpenUp.OPERATION: StatementKind.OPENED,
    Withdraw.OPERATION: StatementKind.NO_PERMIT,
    Discard.OPERATION: StatementKind.NEVER_STARTED,
    Release.OPERATION: StatementKind.RELEASED,
}
LATE = (1, 3, 6, 10, 15, 20, 30, 1000)
"""Behind how many other messages a late one comes; behind a thousand: when all is over."""
DELAYS_S = (0.0, 0.0, 0.0, 1.0, 20.0)


class FarFate(Fate):
    """What befalls sites and the link as well."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        draw = self.random.choice
        self.away = draw((0.0, 0.05, 0.2))
        self.repeated = draw((0.0, 0.1))
        self.late = draw((0.0, 0.1, 0.3))
        self.forged = draw((0.0, 0.0, 0.0, 0.25))
        self.dying = draw((0.0, 0.0, 0.01, 0.05))
        self.meddling = draw((0.0, 0.0, 0.05))
        self.meddle: Callable[[], Any] | None = None

    def passage(self) -> Passage:
        """Return what becomes of one message."""
        return Passage(
            arrives=2 if self.happens(self.repeated) else int(not self.happens(self.away / 2)),
            answered=not self.happens(self.away / 2),
            delay_s=0.0 if self.healed else self.random.choice(DELAYS_S),
        )

    async def before(self, call: str, arguments: tuple[Any, ...]) -> None:
        """Let the site that serves this call die as well."""
        await maybe_die()
        await super().before(call, arguments)

    async def after(self, call: str) -> None:
        """Let an owner meddle, and the site that serves this call die as well."""
        if self.meddle and self.happens(self.meddling):
            await self.meddle()
        await super().after(call)
        await maybe_die()


class FarDocuments(LosingDocuments):
    """Documents of a site that may die before or after each change."""

    async def put(self, kind: str, key: str, value: Any, *, generation: int | None = None) -> Document[Any]:
        await maybe_die()
        kept = await super().put(kind, key, value, generation=generation)
        await maybe_die()
        return kept


class FarSite(SimulatedSite):
    """A site that may die while it serves. ``lives`` counts its deaths."""

    def __init__(self, name: str, link: MemorySite, clock: TestClock, mover: FarMover) -> None:
        self.lives = 0
        self.dying = asyncio.Event()
        super().__init__(name, link, clock, mover)
        self.documents = FarDocuments()

    async def restart(self, life: int) -> None:
        """Start anew, unless that was done since ``life``; nothing that was under way goes on."""
        if life != self.lives:
            return
        self.lives += 1
        self.dying = asyncio.Event()
        dead = self.peer
        self.start()
        await dead.close()


@dataclass(frozen=True, slots=True)
class _Served:
    """In whose service a task is, and what became of the message that it serves."""

    site: FarSite
    fate: FarFate
    passage: Passage


_SERVED: ContextVar[_Served | None] = ContextVar("served", default=None)


async def maybe_die() -> None:
    """Let the site in whose service this is die here, or not; then nothing comes after."""
    served = _SERVED.get()
    if served is not None and served.fate.happens(served.fate.dying):
        served.fate.story.append(f"{served.site.name} dies")
        served.site.dying.set()
        await asyncio.Event().wait()


def _passage(from_: str, to: str, operation: str) -> Passage:
    del from_, to, operation
    served = _SERVED.get()
    return served.passage if served else Passage()


class FarWorld(MemoryWorld):
    """A link whose messages have a fate. Put each site into ``sites``."""

    def __init__(self, clock: TestClock, fate: FarFate) -> None:
        super().__init__(clock, _passage)
        self.sites: dict[str, FarSite] = {}
        self.luck = fate
        self._clock = clock
        self._far: dict[str, _FarLink] = {}
        self._sent = 0
        self._held: list[tuple[int, Callable[[], Any]]] = []
        self._late: list[asyncio.Task[None]] = []

    def site(self, name: str) -> MemorySite:
        """Return one end of the link."""
        if name not in self._far:
            self._far[name] = _FarLink(self, name)
        return self._far[name]

    def stranger(self, name: str) -> Keys:
        """Return keys of somebody who says that it is ``name``."""
        return Keys(name, self._clock.wall())

    def hold(self, delivery: Callable[[], Any]) -> None:
        """Deliver it when some other messages were sent."""
        self._held.append((self._sent + self.luck.random.choice(LATE), delivery))

    def let_come(self) -> None:
        """Let late messages come, whose time it is, beside what is under way."""
        self._sent += 1
        due = [delivery for when, delivery in self._held if when <= self._sent]
        self._held = [(when, delivery) for when, delivery in self._held if when > self._sent]
        self._late += [asyncio.ensure_future(delivery()) for delivery in due]

    async def all_come(self, share: float = 1.0) -> None:
        """Let come what is still on its way, each with this chance, and wait for it."""
        held, self._held = self._held, []
        for when, delivery in held:
            if self.luck.random.random() < share:
                self._late.append(asyncio.ensure_future(delivery()))
            else:
                self._held.append((when, delivery))
        await asyncio.gather(*self._late)
        self._late.clear()


class _FarLink(MemorySite):
    """One end of the link."""

    def __init__(self, world: FarWorld, name: str) -> None:
        super().__init__(world, name)
        self._far = world
        self._delayed: set[bytes] = set()

    async def call(self, partner: str, operation: str, body: bytes) -> bytes:
        """Ask as the fate allows."""
        far, luck = self._far, self._far.luck
        far.let_come()
        post = (partner, operation, body)
        if body in self._delayed or luck.happens(luck.late):
            self._delay(post)
            raise _away(partner)
        if operation in STATED and luck.happens(luck.forged):
            luck.story.append(f"the answer to {operation} is forged")
            if luck.happens(0.5):
                self._delay(post)
            return await self._forged(partner, operation, body)
        return await self._served(post, luck.passage())

    def _delay(self, post: tuple[str, str, bytes]) -> None:
        """Let a message, each time that it is sent, come only once and late."""
        if post[2] not in self._delayed:
            self._delayed.add(post[2])
            self._far.luck.story.append(f"{post[1]} is late")
            self._far.hold(lambda: self._came_late(post))

    async def _came_late(self, post: tuple[str, str, bytes]) -> None:
        self._far.luck.story.append(f"{post[1]} comes late")
        self._delayed.discard(post[2])
        try:
            await self._served(post, Passage())
        except errors.Error as error:
            self._far.luck.story.append(f"it is answered {error.code}")

    async def _served(self, post: tuple[str, str, bytes], passage: Passage) -> bytes:
        """Return what the partner answers, unless it dies over it."""
        site = self._far.sites[post[0]]

        async def asked() -> bytes:
            _SERVED.set(_Served(site, self._far.luck, passage))
            return await super(_FarLink, self).call(*post)

        life, died = site.lives, asyncio.ensure_future(site.dying.wait())
        work = asyncio.ensure_future(asked())
        try:
            await asyncio.wait((work, died), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and site.lives == life and not site.dying.is_set():
                return work.result()
            await site.restart(life)
            raise _away(post[0])
        finally:
            died.cancel()
            work.cancel()
            await asyncio.gather(work, died, return_exceptions=True)

    async def _forged(self, partner: str, operation: str, body: bytes) -> bytes:
        """Return what somebody answers who has not the partner's key."""
        envelope = codec.decoded(body, Envelope)
        statement = Statement(
            kind=STATED[operation],
            site=partner,
            run=envelope.run,
            vm="",
            epoch=envelope.epoch,
            made=envelope.time,
        )
        stated = Stated(to=self.name, initiator=self.name, statement=statement)
        signed = await self._far.stranger(partner).sign(stated)
        return codec.encoded(Reply(answer=codec.encoded(signed))).encode()


def _away(partner: str) -> errors.Unavailable:
    return errors.Unavailable("partner.away", f"{partner} does not answer.")
