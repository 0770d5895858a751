"""Know how fast bytes pass between two clouds now: measured at most once in ten minutes for each pair.

One measurement runs at a time, because two would measure each other. One that fails is no error: it is
remembered for a minute with its reason, and whoever asks has to do without.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport import errors
from crossport.migration.parts import RateProbe
from crossport.model.artifact import Place, Rate, Way
from crossport.spi.clock import Clock
from crossport.units import rate_text, size_text

__all__ = ["Links", "Passage"]

KEPT_S = 600.0
FAILURE_KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Passage:
    """What is known of a link: its rate of ``age_s`` seconds ago, or the reason (``why``) of having none."""

    rate: Rate | None = None
    why: str = ""
    age_s: float = 0.0

    @property
    def words(self) -> str:
        """Say on what it rests; empty when nobody measures here."""
        if self.rate is None:
            return f"not measured ({self.why.rstrip('.')})" if self.why else ""
        when = "now" if self.age_s < 60 else f"{self.age_s / 60:.0f} min ago"
        return f"measured {when}: {rate_text(self.rate.bps)} over {size_text(self.rate.size)}"


@dataclass(frozen=True, slots=True)
class _Known:
    passage: Passage
    at: float


class Links:
    """The links between the clouds of a site. ``place`` returns the seat of a tenant's cloud."""

    def __init__(
        self, probe: RateProbe | None, place: Callable[[str, str, Way], Awaitable[Place]], clock: Clock
    ) -> None:
        self._probe = probe
        self._place = place
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Known] = {}
        self._measuring = asyncio.Lock()

    async def passage(self, tenant: str, source: str, target: str) -> Passage:
        """Return what is known of the link, measured now where that is needed."""
        if self._probe is None:
            return Passage()
        pair = (tenant, source, target)
        if known := self._fresh(pair):
            return known
        async with self._measuring:
            if known := self._fresh(pair):
                return known
            passage = await self._measured(self._probe, pair)
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
        return Passage(known.passage.rate, known.passage.why, now - known.at)

    async def _measured(self, probe: RateProbe, pair: tuple[str, str, str]) -> Passage:
        tenant, source, target = pair
        try:
            here = await self._place(tenant, source, Way.READ)
            there = await self._place(tenant, target, Way.WRITE)
            return Passage(rate=await probe.measure(here, there))
        except errors.Error as error:
            return Passage(why=error.text)
        except OSError as error:
            return Passage(why=error.strerror or type(error).__name__)
