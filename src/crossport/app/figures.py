"""What a node tells Prometheus besides its requests: of its copies, and of its gateways."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crossport.gateway.desk import Desk
from crossport.model.artifact import Copied, Counters, Digest, DiskRef, Moved, Place, Progress, Ticket
from crossport.spi.mover import Mover

__all__ = ["CountedMover", "NodeFigures"]


class CountedMover:
    """A mover that counts what another one does, failed copies included."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._ended = Counters()
        self._running: dict[int, Progress | None] = {}
        self._number = 0

    @property
    def counters(self) -> Counters:
        """What became of all bytes so far."""
        return sum((one.counters for one in self.running), self._ended)

    @property
    def running(self) -> tuple[Progress, ...]:
        """The copies under way that have told their progress."""
        return tuple(one for one in self._running.values() if one is not None)

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy as the mover does."""
        self._number += 1
        number = self._number
        self._running[number] = None

        def noted(progress: Progress) -> None:
            self._running[number] = progress
            report(progress)

        try:
            return await self._mover.move(read, write, noted)
        finally:
            last = self._running.pop(number)
            self._ended += last.counters if last else Counters()

    async def forget(self, run: str) -> None:
        """Forget as the mover does."""
        await self._mover.forget(run)

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None
    ) -> Digest:
        """Read at rest as the mover does."""
        return await self._mover.digest(ref, place, chunk_size, copied)


class NodeFigures(Collector):
    """Collects the figures when they are asked for."""

    def __init__(self, mover: CountedMover, desks: Mapping[str, Desk]) -> None:
        self._mover = mover
        self._desks = desks

    def collect(self) -> Iterator[Metric]:
        """Yield every figure of copies and gateways."""
        yield from self._copies()
        yield from self._gateways()

    def _copies(self) -> Iterator[Metric]:
        counters, running = self._mover.counters, self._mover.running
        copied = CounterMetricFamily(
            "crossport_copy_bytes", "What became of the bytes of disks", labels=["kind"]
        )
        for one in fields(counters):
            copied.add_metric([one.name], getattr(counters, one.name))
        yield copied
        yield GaugeMetricFamily("crossport_copies", "Copies under way", value=len(running))
        rate = sum(one.rate_bps for one in running)
        yield GaugeMetricFamily(
            "crossport_copy_rate_bps", "Bits of disks that arrive in a second", value=rate
        )
        waits = Counter(one.waits_for for one in running if one.waits_for)
        waiting = GaugeMetricFamily("crossport_copies_waiting", "Copies held up", labels=["for"])
        for cause, number in sorted(waits.items()):
            waiting.add_metric([cause], number)
        yield waiting

    def _gateways(self) -> Iterator[Metric]:
        there = GaugeMetricFamily("crossport_gateway_connected", "1 while it is here", labels=["gateway"])
        jobs = GaugeMetricFamily("crossport_gateway_jobs", "Workers that it runs", labels=["gateway"])
        for name, desk in sorted(self._desks.items()):
            there.add_metric([name], float(desk.connected))
            jobs.add_metric([name], desk.reported)
        yield there
        yield jobs
