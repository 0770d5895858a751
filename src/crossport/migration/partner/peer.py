"""A site among its partners: the ends of its own runs that are theirs, and theirs that are its own."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport.identity.messages import Messages
from crossport.migration.end import Ends
from crossport.migration.grants import Grants
from crossport.migration.partner.abroad import Abroad
from crossport.migration.partner.desk import DeskParts, SiteDesk
from crossport.migration.partner.foreign import Foreign
from crossport.migration.partner.notary import Notary
from crossport.migration.partner.remote_site import RemoteParts, RemoteSite
from crossport.migration.partner.served import Served, ServedParts
from crossport.migration.partner.turn import Turns
from crossport.migration.standing import Standings
from crossport.spi.authorize import Authorizer
from crossport.spi.clock import Clock
from crossport.spi.cloud import Cloud
from crossport.spi.document import Documents
from crossport.spi.mover import Mover
from crossport.spi.partner import PartnerLink, PartnerOperations, Partners
from crossport.spi.run import Ledger
from crossport.spi.site import Site
from crossport.spi.statement import StatementSigner
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.reference import References

__all__ = ["Peer", "PeerMeans"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMeans:
    """What it takes. ``documents`` and ``ledger`` are asked at each use; ``token`` returns 32 hex digits.

    ``cloud`` connects to a cloud of a tenant of this site.
    """

    site: str
    documents: Callable[[], Documents]
    ledger: Callable[[], Ledger]
    clock: Clock
    token: Callable[[], str]
    signer: StatementSigner
    link: PartnerLink
    partners: Partners
    mover: Mover
    tickets: Tickets
    references: References
    cloud: Callable[[str, str], Awaitable[Cloud]]
    grants: Grants


class Peer:
    """Both directions. `serve` begins to answer partners; `close` ends what is being answered."""

    def __init__(self, means: PeerMeans) -> None:
        self._means = means
        self._messages = Messages(means.site, means.documents, means.clock, means.token)
        self.notary = Notary(means.site, means.signer, means.documents, means.clock)
        self.foreign = Foreign(means.documents, means.clock)
        self.abroad = Abroad(self._remote, self.notary)
        self._turns = Turns()

    def serve(
        self, operations: PartnerOperations, own: Callable[[str, str], Site], authorizer: Authorizer
    ) -> None:
        """Answer partners; ``own`` returns this site as an end for a tenant, at which a partner acts.

        What the authorizer denies is refused.
        """
        means = self._means
        desk = SiteDesk(
            DeskParts(
                site=own,
                messages=self._messages,
                notary=self.notary,
                foreign=self.foreign,
                references=means.references,
                tickets=means.tickets,
                mover=means.mover,
                standings=Standings(lambda: Ends(means.documents()), means.ledger, means.cloud),
                authorizer=authorizer,
                turns=self._turns,
                grants=means.grants,
                ends=lambda: Ends(means.documents()),
            )
        )
        desk.serve(operations)

    def served(self, own: Callable[[str], Site]) -> Served:
        """Return partners' runs for the operator; ``own`` returns this site as a tenant has it."""
        means = self._means
        return Served(
            ServedParts(
                name=means.site,
                site=own,
                ends=lambda: Ends(means.documents()),
                ledger=means.ledger,
                foreign=self.foreign,
                notary=self.notary,
                references=means.references,
                tickets=means.tickets,
                mover=means.mover,
                turns=self._turns,
                clock=means.clock,
            )
        )

    async def interrupt(self, run: str) -> None:
        """End what is read here for a partner's run (our word for it): at rest, within, to compare."""
        await self._turns.end_reading(run)

    async def close(self) -> None:
        """End what is being answered; partners ask again."""
        await self._messages.close()

    def _remote(self, tenant: str, partner: str) -> RemoteSite:
        means = self._means
        return RemoteSite(
            partner,
            RemoteParts(
                site=means.site,
                tenant=tenant,
                link=means.link,
                partners=means.partners,
                messages=self._messages,
                notary=self.notary,
                clock=means.clock,
            ),
        )
