"""A site among its partners, put together: whose disks are read where, and whose runs have an end here."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from crossport.app.partner_parts import PartnerParts
from crossport.engine import Engine
from crossport.identity.signing.statements import KeptStatements
from crossport.identity.site_keys import KeptKeys
from crossport.migration.grants import Grants
from crossport.migration.heads import OPERATION, KeptHeads
from crossport.migration.partner.peer import Peer, PeerMeans
from crossport.migration.partner.served import Served
from crossport.migration.partner.traces import Traces
from crossport.migration.parts import RateProbe
from crossport.migration.registry import CloudRegistry
from crossport.model.artifact import Place, Rate
from crossport.partner.probe import PROBED, probed
from crossport.spi.authorize import Authorizer
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover
from crossport.spi.site import Site
from crossport.transfer.egress import Guard
from crossport.transfer.host import WorkerHost
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.partner import talk
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.host import PartnerHost
from crossport.transfer.partner.hosts import BothHosts
from crossport.transfer.partner.reference import References
from crossport.transfer.partner.service import PartnerWorkers, Serving

__all__ = [
    "Among",
    "LinkRates",
    "PartnerDisks",
    "keep_evidence",
    "partner_disks",
    "peer_of",
    "serve_partners",
]


@dataclass(frozen=True, slots=True)
class Among:
    """The site ``name`` and its link to partners, with what both directions need of the site."""

    name: str
    partners: PartnerParts
    engine: Engine
    clock: Clock


@dataclass(frozen=True, slots=True)
class PartnerDisks:
    """What partners are shown of the disks here, and ``host``, who starts the workers at both sites."""

    tickets: Tickets
    references: References
    host: WorkerHost


class LinkRates:
    """A `crossport.migration.parts.RateProbe`: ``own`` measures between clouds of this site; to those of a
    partner the link to it is measured, as it was before it was trusted.
    """

    def __init__(self, own: RateProbe, among: Among) -> None:
        self._own = own
        self._among = among

    async def measure(self, source: Place, target: Place) -> Rate:
        """Return how fast bytes pass from one to the other now."""
        site = source.site or target.site
        if not site:
            return await self._own.measure(source, target)
        parts = self._among.partners
        figures = await probed(parts.link, await parts.book.partner(site), self._among.clock)
        pace = figures.rate_out if target.site else figures.rate_in
        return Rate(size=PROBED, seconds=PROBED / max(pace, 1.0))


def partner_disks(among: Among, host: WorkerHost, names: NameKeys, egress: Guard) -> PartnerDisks:
    """Let partners start workers for the tickets that they hold. ``host`` starts workers at this site."""
    engine = among.engine
    tickets = Tickets(lambda: engine.documents, among.clock)
    workers = PartnerWorkers(
        Serving(host=host, tickets=tickets, clock=among.clock, names=names, egress=egress)
    )
    among.partners.operations.converse(talk.OPERATION, workers.converse)
    both = BothHosts(host, PartnerHost(among.partners.link, among.clock), workers)
    return PartnerDisks(tickets, References(lambda: engine.documents), both)


def peer_of(
    among: Among,
    disks: PartnerDisks,
    mover: Mover,
    keys: KeptKeys,
    registry: CloudRegistry,
    grants: Grants,
) -> Peer:
    """Return the site among its partners; it does not answer them yet."""
    engine, partners = among.engine, among.partners
    return Peer(
        PeerMeans(
            site=among.name,
            documents=lambda: engine.documents,
            ledger=lambda: engine.ledger,
            clock=among.clock,
            token=lambda: secrets.token_hex(16),
            signer=KeptStatements(keys),
            link=partners.link,
            partners=partners.book,
            mover=mover,
            tickets=disks.tickets,
            references=disks.references,
            cloud=registry.cloud,
            grants=grants,
        )
    )


def serve_partners(
    among: Among,
    peer: Peer,
    own: Callable[[str, str], Site],
    authorizer: Authorizer,
    registry: CloudRegistry,
) -> Served:
    """Answer partners, and return their runs for the operator; ``own`` is as `Peer.serve` has it.

    Such runs keep their clouds, and are forgotten like own runs.
    """
    peer.serve(among.partners.operations, own, authorizer)
    served = peer.served(lambda tenant: own(tenant, ""))
    registry.users.append(served.need_unused)
    among.engine.forget_too(served.forget_before)
    return served


def keep_evidence(among: Among, peer: Peer, heads: KeptHeads) -> None:
    """Exchange heads of the audit log with partners, and find again what each of them had a part in."""
    among.partners.operations.answer(OPERATION, heads.answer)
    traces = Traces(peer.foreign, peer.notary, among.engine, heads)
    found = (traces.served, traces.own, traces.statements, traces.seals, traces.heads)
    among.partners.office.traces += found
