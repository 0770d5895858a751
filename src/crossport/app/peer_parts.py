"""A site among its partners, put together: whose disks are read where, and whose runs have an end here."""

import secrets
from dataclasses import dataclass

from crossport.app.partner_parts import PartnerParts
from crossport.engine import Engine
from crossport.identity.signing.statements import KeptStatements
from crossport.identity.site_keys import KeptKeys
from crossport.migration.heads import OPERATION, KeptHeads
from crossport.migration.partner.peer import Peer, PeerMeans
from crossport.migration.partner.traces import Traces
from crossport.migration.registry import CloudRegistry
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover
from crossport.transfer.egress import Guard
from crossport.transfer.host import WorkerHost
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.partner import talk
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.host import PartnerHost
from crossport.transfer.partner.hosts import BothHosts
from crossport.transfer.partner.reference import References
from crossport.transfer.partner.service import PartnerWorkers, Serving

__all__ = ["Among", "PartnerDisks", "keep_evidence", "partner_disks", "peer_of"]


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


def peer_of(among: Among, disks: PartnerDisks, mover: Mover, keys: KeptKeys, registry: CloudRegistry) -> Peer:
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
        )
    )


def keep_evidence(among: Among, peer: Peer, heads: KeptHeads) -> None:
    """Exchange heads of the audit log with partners, and find again what each of them had a part in."""
    among.partners.operations.answer(OPERATION, heads.answer)
    traces = Traces(peer.foreign, among.engine, heads)
    among.partners.office.traces += [traces.served, traces.own, traces.heads]
