"""Sites that speak with one another in one process, over a link that can lose, repeat and delay.

`MemoryWorld` holds the sites. Each `MemorySite` of it is a `crossport.spi.partner.PartnerLink`, a
`PartnerOperations` and, for what it knows of the others, a `Partners`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from crossport import errors
from crossport.model.partner import Partner, PartnerState, TenantRule
from crossport.spi.clock import Clock
from crossport.spi.partner import Answer, Converse, Lines

__all__ = ["Fate", "MemorySite", "MemoryWorld", "always"]

T = TypeVar("T")
_QUEUED = 16
MAX_LINE = 512 << 10


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call: how often the request arrives, whether the answer does, and how late.

    With ``arrives`` 0 it is lost on its way; with 2 the partner is asked twice, and the answer is the second.
    """

    arrives: int = 1
    answered: bool = True
    delay_s: float = 0.0


def always(from_: str, to: str, operation: str) -> Fate:
    """Let every call through."""
    return Fate()


class MemoryWorld:
    """Sites and the link between them. ``fate`` decides about each call, and each opening of a stream."""

    def __init__(self, clock: Clock, fate: Callable[[str, str, str], Fate] = always) -> None:
        self.clock = clock
        self.fate = fate
        self._sites: dict[str, MemorySite] = {}

    def site(self, name: str) -> "MemorySite":
        """Return a site of this world, made at the first call."""
        return self._sites.setdefault(name, MemorySite(self, name))

    def accept(self, one: str, other: str) -> None:
        """Let two sites be partners of one another."""
        for name, partner in ((one, other), (other, one)):
            self.site(name).know(_partner(partner, self.clock.wall()))

    async def cut(self) -> None:
        """Break every open stream."""
        for site in self._sites.values():
            for talk in tuple(site.talks):
                await talk.cut()


class MemorySite:
    """One end. What it answers to others stands in ``answers`` and ``conversations``, by operation;
    ``talks`` are the streams that it opened."""

    def __init__(self, world: MemoryWorld, name: str) -> None:
        self.name = name
        self._world = world
        self._known: dict[str, Partner] = {}
        self.answers: dict[str, Answer] = {}
        self.conversations: dict[str, Converse] = {}
        self.talks = set[_Talk]()

    def know(self, partner: Partner) -> None:
        """Keep what this site knows of a partner."""
        self._known[partner.name] = partner

    def allow(self, partner: str, *rules: TenantRule) -> None:
        """Let tenants of a partner act here."""
        self._known[partner] = replace(self._known[partner], tenants=rules)

    def revoke(self, partner: str) -> None:
        """Trust a partner no longer."""
        self._known[partner] = replace(self._known[partner], state=PartnerState.REVOKED)

    async def partners(self) -> tuple[Partner, ...]:
        """Return all, by name."""
        return tuple(partner for _, partner in sorted(self._known.items()))

    async def partner(self, name: str) -> Partner:
        """Return one that is trusted now."""
        found = self._known.get(name)
        if found is None:
            raise errors.NotFound(
                "partner.unknown",
                f"This site has no partner {name}.",
                field="partner",
                remedy="Let both accept one another.",
            )
        if found.state is not PartnerState.ACCEPTED:
            raise errors.Refused(
                "partner.unconfirmed" if found.state is PartnerState.INVITED else "partner.revoked",
                f"{name} is {found.state}.",
                field="partner",
                remedy="Let both accept one another.",
            )
        return found

    def answer(self, operation: str, answer: Answer) -> None:
        """Let partners call ``operation``."""
        _once(operation, self.answers)
        self.answers[operation] = answer

    def converse(self, operation: str, converse: Converse) -> None:
        """Let partners open a stream for ``operation``."""
        _once(operation, self.conversations)
        self.conversations[operation] = converse

    async def call(self, partner: str, operation: str, body: bytes) -> bytes:
        """Return the partner's answer to one request."""
        fate = await self._sent(partner, operation)
        other = self._world.site(partner)
        answer = b""
        for _ in range(fate.arrives):
            caller = await other.partner(self.name)
            answer = await _known(operation, other.answers)(caller, body)
        if not fate.answered:
            raise _away(partner)
        return answer

    @asynccontextmanager
    async def stream(self, partner: str, operation: str, opening: bytes) -> AsyncGenerator[Lines]:
        """Give lines to and from the partner's handler of ``operation``."""
        fate = await self._sent(partner, operation)
        if not fate.answered:
            raise _away(partner)
        other = self._world.site(partner)
        caller = await other.partner(self.name)
        converse = _known(operation, other.conversations)
        talk = _Talk(converse, caller, opening)
        self.talks.add(talk)
        try:
            yield talk.ours
        finally:
            await talk.cut()
            self.talks.discard(talk)

    async def _sent(self, partner: str, operation: str) -> Fate:
        """Return what becomes of a message, once its time has passed; raise when it is lost."""
        await self.partner(partner)
        fate = self._world.fate(self.name, partner, operation)
        if fate.delay_s:
            await self._world.clock.sleep(fate.delay_s)
        if not fate.arrives:
            raise _away(partner)
        return fate


class _Way:
    """Lines in one direction, and how they end: well, with an error, or because the link is cut."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._over: list[errors.Error | None] = []
        self._changed = asyncio.Condition()

    async def put(self, line: bytes) -> None:
        """Add a line, once there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over or len(self._lines) < _QUEUED)
            if self._over:
                raise _away("The partner")
            self._lines.append(line)
            self._changed.notify_all()

    async def take(self) -> bytes | None:
        """Return the next line; after the last one, how it ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over or self._lines)
            if self._lines:
                self._changed.notify_all()
                return self._lines.popleft()
            if self._over[0] is not None:
                raise self._over[0]
            return None

    async def end(self, how: errors.Error | None) -> None:
        """Let nothing more come. The first end counts."""
        async with self._changed:
            self._over = self._over or [how]
            self._changed.notify_all()


class _Ends:
    """One end's lines: those that come in, and those that go out."""

    def __init__(self, incoming: _Way, outgoing: _Way) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def send(self, line: bytes) -> None:
        """Send a line."""
        if b"\n" in line or len(line) > MAX_LINE:
            raise errors.Broken(
                "partner.line.unfit",
                f"A line of {len(line)} bytes cannot be sent.",
                remedy=errors.REPORT,
            )
        await self._outgoing.put(line)

    async def receive(self) -> bytes | None:
        """Return the next line."""
        return await self._incoming.take()


class _Talk:
    """One stream: both directions, and the handler at the far end."""

    def __init__(self, converse: Converse, caller: Partner, opening: bytes) -> None:
        self._there, self._back = _Way(), _Way()
        self.ours = _Ends(self._back, self._there)
        self._handler = asyncio.create_task(self._held(converse, caller, opening))

    async def _held(self, converse: Converse, caller: Partner, opening: bytes) -> None:
        how: errors.Error | None = None
        try:
            await converse(caller, opening, _Ends(self._there, self._back))
        except errors.Error as error:
            how = error
        await self._back.end(how)
        await self._there.end(_away("The partner"))

    async def cut(self) -> None:
        """Let neither end hear the other any more. The handler learns it when it next sends or receives."""
        await self._there.end(_away("The partner"))
        await self._back.end(_away("The partner"))


def _once(operation: str, known: Mapping[str, object]) -> None:
    if operation in known:
        raise errors.Broken(
            "partner.operation.taken", f"{operation} is answered already.", remedy=errors.REPORT
        )


def _known(operation: str, known: Mapping[str, T]) -> T:
    if operation not in known:
        raise errors.NotFound(
            "partner.operation.unknown",
            f"The partner knows no operation {operation}.",
            remedy=errors.SAME_RELEASE,
        )
    return known[operation]


def _away(partner: str) -> errors.Unavailable:
    return errors.Unavailable("partner.away", f"{partner} does not answer.", remedy=errors.TRIED_AGAIN)


def _partner(name: str, now: float) -> Partner:
    return Partner(
        name=name,
        authorities=(),
        address=f"https://{name}.invalid:8445",
        root="",
        roles="",
        state=PartnerState.ACCEPTED,
        since=now,
        changed=now,
        refreshed=now,
    )
