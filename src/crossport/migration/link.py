"""Know how fast bytes pass between two clouds now: measured at most once in ten minutes for each pair.

One measurement runs at a time, because two would measure each other. One that fails is no error: it is
remembered for a minute with its reason, and whoever asks has to do without.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.migration.parts import RateProbe
from crossport.migration.passage import READY, Ends, Passage
from crossport.model.artifact import Place, Rate, Way
from crossport.model.gateway import Seated
from crossport.model.name import parted
from crossport.spi.clock import Clock
from crossport.spi.gateway import Seats

__all__ = ["Links"]

KEPT_S = 600.0
FAILURE_KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Known:
    passage: Passage
    at: float


class Links:
    """The links between the clouds of a site. ``place`` returns the seat of a tenant's cloud."""

    def __init__(
        self,
        probe: RateProbe | None,
        place: Callable[[str, str, Way], Awaitable[Place]],
        clock: Clock,
        seats: Seats | None = None,
    ) -> None:
        """Without ``seats``, every place is the site's own machine."""
        self._probe = probe
        self._seats = seats
        self._place = place
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Known] = {}
        self._measuring = asyncio.Lock()

    async def passage(self, tenant: str, source: str, target: str) -> Passage:
        """Return what is known of the link, measured now where that is needed and its ends are there."""
        pair = (tenant, source, target)
        if parted(source)[1] or parted(target)[1]:
            return await self._to_partner(pair)
        try:
            ends = await self._ends(pair)
        except errors.Error as error:
            return Passage(why=error.text, code=error.code)
        if any(one.presence not in READY for one in ends.seated):
            return Passage(why="a gateway is not there", ends=ends)
        if self._probe is None:
            return Passage(ends=ends)
        return replace(await self._once(pair, self._probe, ends.places), ends=ends)

    async def _to_partner(self, pair: tuple[str, str, str]) -> Passage:
        """Return what is known of a link with a partner; who works at its end is not ours to ask."""
        if self._probe is None:
            return Passage(why="one end is a partner's")
        _, source, target = pair
        return await self._once(pair, self._probe, (_named(source), _named(target)))

    async def _once(
        self, pair: tuple[str, str, str], probe: RateProbe, places: tuple[Place, Place]
    ) -> Passage:
        """Return what was measured lately, or measure now."""
        if known := self._fresh(pair):
            return known
        async with self._measuring:
            if known := self._fresh(pair):
                return known
            passage = await self._measured(probe, places)
            self._known[pair] = _Known(passage, self._clock.monotonic())
            return passage

    def latest(self, tenant: str, source: str, target: str) -> Rate | None:
        """Return the rate if it is known now; measure nothing."""
        known = self._fresh((tenant, source, target))
        return known.rate if known else None

    def _fresh(self, pair: tuple[str, str, str]) -> Passage | None:
        now = self._clock.monotonic()
        kept = {
            each: known
            for each, known in self._known.items()
            if now - known.at < (KEPT_S if known.passage.rate else FAILURE_KEPT_S)
        }
        self._known = kept
        if pair not in kept:
            return None
        known = kept[pair]
        return replace(known.passage, age_s=now - known.at)

    async def _ends(self, pair: tuple[str, str, str]) -> Ends:
        tenant, source, target = pair
        here = await self._place(tenant, source, Way.READ)
        there = await self._place(tenant, target, Way.WRITE)
        if self._seats is None:
            return Ends((here, there), (Seated(), Seated()))
        return Ends((here, there), (await self._seats.seated(here), await self._seats.seated(there)))

    async def _measured(self, probe: RateProbe, places: tuple[Place, Place]) -> Passage:
        try:
            return Passage(rate=await probe.measure(*places))
        except errors.Error as error:
            return Passage(why=error.text, code=error.code)
        except OSError as error:
            return Passage(why=error.strerror or type(error).__name__)


def _named(cloud: str) -> Place:
    """Return a place that says only whose cloud it is."""
    name, site = parted(cloud)
    return Place(cloud=name, subnet="", address="", site=site)
