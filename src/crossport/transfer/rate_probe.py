"""Measure how fast bytes get from one gateway's seat to another's, by sending noise the way disks go.

Two workers are started as for a copy, and the sending one times the passage between the first word and the
last verified byte; starting the workers does not count. Nothing is written anywhere.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from crossport import errors
from crossport.model.artifact import DiskRef, Place, Rate, Ticket, Way
from crossport.spi.clock import Clock
from crossport.transfer.dialling import Dialling
from crossport.transfer.host import WorkerHost
from crossport.transfer.meter import counters_of, number
from crossport.transfer.noise import NOISE, VOID
from crossport.transfer.pair import Settings, both, introduce
from crossport.transfer.together import entered
from crossport.units import MIB

__all__ = ["ProbeBounds", "WorkerRateProbe"]

_TICKET_S = 60.0
_LEAST = 256 << 10  # what arrived before it was cut off must be more than the first words


@dataclass(frozen=True, slots=True)
class ProbeBounds:
    """How much noise is sent: ``size`` bytes or for ``noise_s``, whichever is less.

    After ``limit_s``, the workers' start included, it is cut off, and what arrived by then counts: what is on
    its way over a slow link at ``noise_s`` may take long to arrive. An end that does not answer the other
    within ``connect_s`` may dial itself; then the limit holds once more.
    """

    size: int = 48 * MIB
    noise_s: float = 1.5
    limit_s: float = 6.0
    connect_s: float = 2.5


class WorkerRateProbe:
    """Implements `crossport.migration.parts.RateProbe` with the workers that copy disks."""

    def __init__(
        self,
        host: WorkerHost,
        clock: Clock,
        bounds: ProbeBounds | None = None,
        dialling: Dialling | None = None,
    ) -> None:
        self._host = host
        self._dialling = dialling or Dialling()
        self._clock = clock
        self._bounds = bounds or ProbeBounds()

    async def measure(self, source: Place, target: Place) -> Rate:
        """Return how much arrived, and in which time.

        Raise Unavailable when nothing arrived within the limit, and what the ends of a copy raise.
        """
        return await self._dialling.either(
            source, target, lambda sender_dials: self._bounded(source, target, sender_dials=sender_dials)
        )

    async def _bounded(self, source: Place, target: Place, *, sender_dials: bool) -> Rate:
        seen = _Seen(self._clock)
        try:
            async with asyncio.timeout(self._bounds.limit_s):
                return await self._measured(source, target, seen, sender_dials=sender_dials)
        except TimeoutError:
            return seen.so_far(self._bounds.limit_s)

    async def _measured(self, source: Place, target: Place, seen: "_Seen", *, sender_dials: bool) -> Rate:
        read, write = self._tickets(source, target)
        async with entered(
            self._host.started("send", read.ref, read.place),
            self._host.started("receive", write.ref, write.place),
        ) as (sender, receiver):
            settings = Settings(connect_s=self._bounds.connect_s)
            await introduce(settings, (read, write), (sender, receiver), sender_dials=sender_dials)
            sent, _ = await both(sender.event("done"), receiver.event("done", seen.progress))
        return Rate(size=counters_of(sent).sent, seconds=max(number(sent, "took_us"), 1) / 1e6)

    def _tickets(self, source: Place, target: Place) -> tuple[Ticket, Ticket]:
        size = self._bounds.size
        read = Ticket(
            id="rate-probe",
            tenant="",
            run="rate-probe",
            epoch=1,
            artifact=NOISE,
            way=Way.READ,
            ref=DiskRef(kind=NOISE, locator=str(self._bounds.noise_s), size=size),
            place=source,
            byte_budget=size,
            expires=self._clock.wall() + _TICKET_S,
            nonce="",
        )
        write = Ticket(
            id="rate-probe",
            tenant="",
            run="rate-probe",
            epoch=1,
            artifact=NOISE,
            way=Way.WRITE,
            ref=DiskRef(kind=VOID, locator="", size=size),
            place=target,
            byte_budget=size,
            expires=read.expires,
            nonce="",
        )
        return read, write


class _Seen:
    """What the receiver told of its progress: enough to judge a link that is too slow for the noise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._points: list[tuple[float, int]] = []

    def progress(self, said: dict[str, Any]) -> None:
        self._points.append((self._clock.monotonic(), counters_of(said).written))

    def so_far(self, limit_s: float) -> Rate:
        """Return the passage from the last moment at which nothing had arrived."""
        arrived = [point for point in self._points if point[1]]
        if not arrived or arrived[-1][1] < _LEAST:
            raise errors.Unavailable(
                "transfer.probe.silent",
                f"Next to nothing arrived within {limit_s:.0f} s.",
                remedy="Look whether the network between the two lets anything through.",
            )
        began = max((at for at, size in self._points if not size), default=arrived[0][0])
        return Rate(size=arrived[-1][1], seconds=max(arrived[-1][0] - began, 0.001))
