"""Rate limits: kept for links and runs, and shared out anew twice a second among the copies under way.

Nodes that share a database share the links, too: each keeps there what it copies over a link that has a
limit, and all of them divide the same links among the same copies.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crossport import errors
from crossport.migration.share import Copy, Link, shares
from crossport.model.artifact import Ticket
from crossport.model.limit import LinkLimit, LinkLimitStatus, RunLimit
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["Limits"]

LINK, RUN, COPYING = "limit.link", "limit.run", "limit.passing"
TICK_S = 0.5
FORGET_S = 10.0
"""What a node says of its copies counts for so long: one that died gives its shares back then."""
_USES_LESS = 0.8
_ROOM = 1.25
_LEAST_WANT_BPS = 1e6
_MINUTES = 24 * 60


@record()
class _Copying:
    """One copy, as its node tells the others. ``want_bps`` 0 is: as much as there is."""

    id: str
    tenant: str
    run: str
    source: str
    target: str
    want_bps: int


@record()
class _NodeCopies:
    """What a node copies over links with a limit. It says so again and again, changed or not."""

    copies: tuple[_Copying, ...]


class _Passage:
    """One copy under way at this node. Implements `crossport.spi.limit.Passing`."""

    def __init__(self, copy: Copy, clock: Clock) -> None:
        self.copy = copy
        self._clock = clock
        self._sizes = [(clock.monotonic(), 0)]
        self._rate_bps: int | None = None
        self._generation = 0
        self._changed = asyncio.Event()

    def sent(self, size: int) -> None:
        """Remember how far the copy was at this time."""
        now = self._clock.monotonic()
        self._sizes.append((now, size))
        while len(self._sizes) > 2 and self._sizes[1][0] < now - 2.0:
            del self._sizes[0]

    async def rates(self) -> AsyncIterator[int | None]:
        """Yield the rate now, then every new one."""
        told = -1
        while True:
            if told != self._generation:
                told = self._generation
                yield self._rate_bps
            self._changed.clear()
            if told == self._generation:
                await self._changed.wait()

    def bound(self, rate_bps: float) -> None:
        """Let this rate hold; infinite for none."""
        new = None if math.isinf(rate_bps) else max(int(rate_bps), 1)
        if new != self._rate_bps:
            self._rate_bps = new
            self._generation += 1
            self._changed.set()

    def want_bps(self) -> float:
        """What the copy could use: as much as there is, unless it clearly uses less than it may."""
        (began, before), (now, size) = self._sizes[0], self._sizes[-1]
        if self._rate_bps is None or now - began < 1.0:
            return math.inf
        used_bps = (size - before) * 8 / (now - began)
        return max(used_bps * _ROOM, _LEAST_WANT_BPS) if used_bps < self._rate_bps * _USES_LESS else math.inf


class Limits:
    """The limits of one site, and what they mean for the copies of this node.

    Implements RateLimits and RateBook of `crossport.spi.limit`.
    """

    def __init__(
        self, documents: Callable[[], Documents], clock: Clock, node: str, *, tick_s: float = TICK_S
    ) -> None:
        """``documents`` is asked when something is needed: they are there once the engine is open."""
        self._documents = documents
        self._clock = clock
        self._node = node
        self._tick_s = tick_s
        self._passages: list[_Passage] = []
        self._ticking: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()
        self._said = False
        self._heard: dict[str, tuple[int, float]] = {}  # node -> the generation it said last, and since when

    async def links(self) -> tuple[LinkLimitStatus, ...]:
        """Return the limits of links, by source and target."""
        kept, now = await self._documents().list(LINK, LinkLimit), self._now()
        return tuple(LinkLimitStatus(limit=each.value, now_bps=rate_at(each.value, now)) for each in kept)

    async def set_link(self, limit: LinkLimit) -> LinkLimitStatus:
        """Keep a limit in place of the link's former one. Raise Invalid for one that contradicts itself."""
        await self._documents().put(LINK, _key(limit.source, limit.target), checked(limit))
        self._sooner.set()
        return LinkLimitStatus(limit=limit, now_bps=rate_at(limit, self._now()))

    async def remove_link(self, source: str, target: str) -> None:
        """Forget a limit; raise NotFound."""
        if not await self._documents().delete(LINK, _key(source, target)):
            raise errors.NotFound(
                "limit.unknown",
                f"The link from {source} to {target} has no limit.",
                remedy="See: crossport limit list",
            )
        self._sooner.set()

    async def set_run(self, run: str, limit: RunLimit) -> None:
        """Bound a run, or take its bound away."""
        if limit.rate_bps is None:
            await self._documents().delete(RUN, run)
        else:
            await self._documents().put(RUN, run, limit)
        self._sooner.set()

    async def forget(self, run: str) -> None:
        """Forget the bound of a run that ended."""
        await self.set_run(run, RunLimit(rate_bps=None))

    async def run_limit(self, run: str) -> RunLimit:
        """Return a run's own bound."""
        try:
            return (await self._documents().fetch(RUN, run, RunLimit)).value
        except errors.NotFound:
            return RunLimit(rate_bps=None)

    @asynccontextmanager
    async def passing(self, read: Ticket, write: Ticket) -> AsyncGenerator[_Passage]:
        """Count a copy among those that share, while the context lasts."""
        passage = _Passage(
            Copy(
                id=f"{self._node}/{write.run}/{write.artifact}/{write.epoch}",
                tenant=read.tenant,
                run=read.run,
                link=(read.place.called, write.place.called),
            ),
            self._clock,
        )
        self._passages.append(passage)
        try:
            await self._share()  # so that no byte passes before the limits are known
            if self._ticking is None:
                self._ticking = asyncio.create_task(self._tick())
            yield passage
        finally:
            self._passages.remove(passage)
            self._sooner.set()
            if not self._passages:
                await self._rest()

    async def _rest(self) -> None:
        ticking, self._ticking = self._ticking, None
        if ticking is not None:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
        if self._said and not self._passages:
            self._said = False
            with contextlib.suppress(errors.Unavailable):  # then what was said is forgotten by its age
                await self._documents().delete(COPYING, self._node)

    async def _tick(self) -> None:
        while True:
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s):
                    await self._sooner.wait()
            # While the database is away, the shares stay as they are.
            with contextlib.suppress(errors.Unavailable):
                await self._share()

    async def _share(self) -> None:
        now = self._now()
        kept = [each.value for each in await self._documents().list(LINK, LinkLimit)]
        rates = {(each.source, each.target): rate_at(each, now) for each in kept}
        links = {link: float(rate) for link, rate in rates.items() if rate is not None}
        runs = await self._runs()
        own = [replace(passage.copy, want_bps=passage.want_bps()) for passage in self._passages]
        others = await self._others(own, links)
        rate = shares([*own, *others], links, runs)
        for passage in self._passages:
            passage.bound(rate.get(passage.copy.id, math.inf))

    async def _runs(self) -> dict[str, float]:
        found = dict[str, float]()
        for run in {passage.copy.run for passage in self._passages}:
            limit = await self.run_limit(run)
            if limit.rate_bps is not None:
                found[run] = float(limit.rate_bps)
        return found

    async def _others(self, own: list[Copy], links: Mapping[Link, float]) -> list[Copy]:
        """Tell the other nodes what this one copies over links that are bounded; return what they do."""
        said = tuple(_said(copy) for copy in own if copy.link in links)
        if not said and not self._said:
            return []
        self._said = True
        await self._documents().put(COPYING, self._node, _NodeCopies(copies=said))
        kept = await self._documents().list(COPYING, _NodeCopies)
        others = self._living([node for node in kept if node.key != self._node])
        return [_heard(copy) for node in others for copy in node.value.copies]

    def _living(self, nodes: list[Document[_NodeCopies]]) -> list[Document[_NodeCopies]]:
        """Return the nodes that spoke lately, by our own watch: clocks of two nodes are never compared."""
        now = self._clock.monotonic()
        self._heard = {
            node.key: heard
            if (heard := self._heard.get(node.key, (0, now)))[0] == node.generation
            else (node.generation, now)
            for node in nodes
        }
        return [node for node in nodes if now - self._heard[node.key][1] < FORGET_S]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def rate_at(limit: LinkLimit, now: datetime) -> int | None:
    """Return the rate that a limit sets at ``now``; None for no bound."""
    there = now.astimezone(ZoneInfo(limit.zone))
    minute = there.hour * 60 + there.minute
    for window in limit.windows:
        if minute in _minutes(window.start, window.end):
            return window.rate_bps
    return limit.rate_bps


def checked(limit: LinkLimit) -> LinkLimit:
    """Return the limit; raise Invalid naming the field where its rules contradict one another."""
    if limit.source == limit.target:
        raise _invalid("target", "A link joins two clouds.", "Name another cloud.")
    try:
        ZoneInfo(limit.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid(
            "zone", f"There is no time zone {limit.zone!r}.", "Write one like Europe/Berlin."
        ) from error
    if limit.rate_bps is None and all(window.rate_bps is None for window in limit.windows):
        raise _invalid("rate_bps", "This limit bounds nothing.", "Give a rate, or remove the limit.")
    taken = dict[int, int]()
    for number, window in enumerate(limit.windows):
        minutes = _minutes(window.start, window.end)
        if not minutes:
            raise _invalid(
                f"windows.{number}", "It begins when it ends.", "Write 00:00 to 24:00 for the whole day."
            )
        other = next((taken[minute] for minute in minutes if minute in taken), None)
        if other is not None:
            raise _invalid(
                f"windows.{number}",
                f"It overlaps window {other}: two rates at one time.",
                "Let each window begin where the other ends.",
            )
        taken |= dict.fromkeys(minutes, number)
    return limit


def _minutes(start: str, end: str) -> set[int]:
    """Return the minutes of the day from ``start`` up to ``end``, over midnight if that is earlier."""
    first, last = _minute(start), _minute(end)
    if first <= last:
        return set(range(first, last))
    return {*range(first, _MINUTES), *range(last)}


def _minute(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return int(hours) * 60 + int(minutes)


def _invalid(field: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("limit.contradiction", text, field=field, remedy=remedy)


def _key(source: str, target: str) -> str:
    return f"{source}/{target}"


def _said(copy: Copy) -> _Copying:
    want_bps = 0 if math.isinf(copy.want_bps) else int(copy.want_bps)
    source, target = copy.link
    return _Copying(
        id=copy.id, tenant=copy.tenant, run=copy.run, source=source, target=target, want_bps=want_bps
    )


def _heard(copy: _Copying) -> Copy:
    return Copy(
        id=copy.id,
        tenant=copy.tenant,
        run=copy.run,
        link=(copy.source, copy.target),
        want_bps=copy.want_bps or math.inf,
    )
