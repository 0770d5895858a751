"""Whoever starts the workers of a copy: this site at its own places, the partner at a partner's."""

import contextlib
from collections.abc import AsyncGenerator

from crossport.model.artifact import DiskRef, Place
from crossport.transfer.host import Journal, Way, Worker, WorkerHost
from crossport.transfer.partner.service import PartnerWorkers

__all__ = ["BothHosts"]


class BothHosts:
    """Implements `crossport.transfer.host.WorkerHost` for places ``here`` and at partners (``there``).

    What is forgotten of a run also ends what is ``served`` of it to a partner.
    """

    def __init__(self, here: WorkerHost, there: WorkerHost, served: PartnerWorkers) -> None:
        self._here = here
        self._there = there
        self._served = served

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
        """Start a worker as the Protocol says."""
        host = self._there if place.site else self._here
        async with host.started(way, ref, place, journal, stock, published) as worker:
            yield worker

    async def forget(self, run: str) -> None:
        """End what is served of ``run``, and remove its journals."""
        await self._served.forget(run)
        await self._here.forget(run)
