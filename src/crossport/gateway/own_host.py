"""The machine of a node as a host of workers whose journals are in the site's ledger, as those at gateways.

A node that died in a copy, and came back after another had ended the run, forgets what it kept of that run.
"""

import contextlib
from collections.abc import AsyncGenerator

from crossport.gateway.claims import ClaimingPipe
from crossport.gateway.keeping import Keeping
from crossport.model.artifact import DiskRef, Place
from crossport.spi.sealing import Claimant
from crossport.transfer.confined import LocalHost
from crossport.transfer.host import Journal, Way, Worker

__all__ = ["OwnHost"]


class OwnHost:
    """Implements `crossport.transfer.host.WorkerHost` with the workers of ``host``, at the node ``node``.

    ``claimant`` vouches for what they read and wrote.
    """

    def __init__(self, host: LocalHost, keeping: Keeping, node: str, claimant: Claimant) -> None:
        self._host = host
        self._claimant = claimant
        self._keeping = keeping
        self._name = f"node:{node}"

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
        journal = await self._keeping.journal(self._name, way, journal)
        async with self._host.started(way, ref, place, journal, stock, published) as worker:
            yield Worker(ClaimingPipe(worker.pipe, way, self._claimant))

    async def forget(self, run: str) -> None:
        """Remove the journals of ``run`` here; other nodes do so when they begin."""
        await self._keeping.forget(run)
        await self._host.forget(run)
        await self._keeping.forgot(self._name, run)

    async def tidy(self) -> None:
        """Remove the journals of runs that were to be forgotten meanwhile, and of those nobody knows."""
        shelves = self._host.shelves()  # first: an entry is always older than its shelf
        unwanted = await self._keeping.unwanted(self._name, shelves)
        for run in unwanted.runs:
            await self._host.forget(run)
            await self._keeping.forgot(self._name, run)
        for name in unwanted.shelves:
            self._host.clear(name)
