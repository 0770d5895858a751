"""All that a site shows to partners of its disks, and keeps of what it showed."""

from collections.abc import Callable

from crossport.model.artifact import Artifact, Ticket
from crossport.spi.document import Documents
from crossport.transfer.partner.reference import References
from crossport.transfer.partner.service import PartnerWorkers, Serving

__all__ = ["Showing"]


class Showing:
    """References and tickets as partners have them, and the ``workers`` that run for these."""

    def __init__(self, documents: Callable[[], Documents], serving: Serving) -> None:
        """``documents`` is asked at each use."""
        self.workers = PartnerWorkers(serving)
        self._references = References(documents)
        self._tickets = serving.tickets

    async def shown(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return the artifacts of this site's ``run`` as ``partner`` may see them; the same at each call."""
        return await self._references.shown(partner, run, artifacts)

    async def known(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return what ``partner`` was shown as these; raise Refused (``transfer.reference.foreign``)."""
        return await self._references.known(partner, run, artifacts)

    async def give(self, partner: str, ticket: Ticket, *, run: str, tenant: str) -> Ticket:
        """Keep a ticket; return what ``partner`` may see of it, in its own words for run and tenant."""
        return await self._tickets.give(partner, ticket, tenant=tenant, run=run)

    async def forget(self, run: str) -> None:
        """End the workers of this site's ``run``, and let no word that was given for it count any more."""
        await self.workers.forget(run)
        await self._references.forget(run)
