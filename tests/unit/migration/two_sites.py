"""Two sites with a simulated cloud each, partners of one another, over a link in this process.

Each has its own documents, ledger and keys. What crosses does so as JSON, signed where it is a statement.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from tests.unit.migration.world import FaultyMover, RecordingHooks, TestClock, World, new_world

from crossport import errors
from crossport.authorize import PolicyAuthorizer, opened
from crossport.clouds.memory import MemoryCloud
from crossport.identity import role_document as roles
from crossport.identity import statement as statements
from crossport.identity.key_signer import KeySigner
from crossport.identity.messages import Messages
from crossport.migration.grants import Grants
from crossport.migration.local_site import LocalSite, SiteParts
from crossport.migration.partner.peer import Peer, PeerMeans
from crossport.migration.parts import Parts
from crossport.migration.passage import Passage
from crossport.model.artifact import Moved, Place, Progress, Ticket
from crossport.model.gateway import Presence, Seated
from crossport.model.inspection import Guest, LookMode
from crossport.model.keyring import Algorithm, Key, KeyRole
from crossport.model.partner import TenantRule
from crossport.model.permit import SignedStatement, Stated
from crossport.model.role import RoleDocument
from crossport.model.sealing import ClaimedDisk
from crossport.spi.cloud import Cloud
from crossport.spi.document import Document
from crossport.spi.site import Site
from crossport.testing.document import MemoryDocuments
from crossport.testing.inspector import MemoryInspector
from crossport.testing.partner import MemorySite, MemoryWorld
from crossport.testing.run import DirectLedger, DirectRun
from crossport.testing.sealer import MemorySealer
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.reference import PARTNER, References

TENANT = "default"
AUTHORIZER = PolicyAuthorizer(opened())


class Keys:
    """A site's keys: its root, its key for statements, and its role document. It signs for the site."""

    def __init__(self, site: str, now: float) -> None:
        self.site = site
        self.elsewhere = False
        self.root = KeySigner.made(Algorithm.ED25519)
        self.permit = KeySigner.made(Algorithm.ED25519)
        self.sealer = MemorySealer(site)
        self.document = RoleDocument(
            site=site,
            version=1,
            root=roles.public(self.root),
            issued=now,
            expires=now + roles.DOCUMENT_LIFETIME_S,
            keys=(self.key(self.permit, now), self.sealer.key),
        )

    def key(self, signer: KeySigner, now: float, role: KeyRole = KeyRole.PERMIT) -> Key:
        return Key(
            public_key=roles.public(signer),
            algorithm=signer.algorithm,
            site=self.site,
            role=role,
            valid_from=now,
            valid_until=now + roles.KEY_LIFETIME_S,
        )

    @property
    def envelope(self) -> str:
        return base64.b64encode(roles.signed(self.document, self.root)).decode()

    async def ready(self) -> None:
        if self.elsewhere:
            raise errors.Conflict("key.signer.elsewhere", f"The keys of {self.site} lie with node one.")

    async def sign(self, stated: Stated) -> SignedStatement:
        payload = statements.payload_of(stated)
        statements.judged(payload, self.site)
        return statements.signed(payload, self.permit)


class FarMover(FaultyMover):
    """A mover of one process for both sites: it looks a partner's ticket up at the partner."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(clock)
        self.tickets: dict[str, Tickets] = {}
        self.sealers: dict[str, MemorySealer] = {}

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        moved = await super().move(await self._real(read, write), await self._real(write, read), report)
        disk = ClaimedDisk(id=moved.artifact, size=moved.size, chunk_size=moved.chunk_size, root=moved.root)
        claim = self.sealers[self._owner(read, write)].claim(read.run, disk, written=False)
        arrival = self.sealers[self._owner(write, read)].claim(write.run, disk, written=True)
        return replace(moved, claim=claim, arrival=arrival)

    def _owner(self, ticket: Ticket, other: Ticket) -> str:
        """Return the site whose gateway acts on the ticket."""
        return ticket.place.site or next(name for name in self.sealers if name != other.place.site)

    async def _real(self, ticket: Ticket, other: Ticket) -> Ticket:
        if ticket.ref.kind != PARTNER:
            return ticket
        asker = next(name for name in self.tickets if name != ticket.place.site)
        assert not other.place.site
        given = await self.tickets[ticket.place.site].admit(asker, ticket.ref.locator, ticket.way)
        return replace(ticket, ref=given.ticket.ref)


class LosingDocuments(MemoryDocuments):
    """Documents of a site that may die when it is about to keep an answer."""

    lost_answers = 0

    async def put(self, kind: str, key: str, value: Any, *, generation: int | None = None) -> Document[Any]:
        if kind == "message" and generation is None and self.lost_answers:
            self.lost_answers -= 1
            raise errors.Unavailable("test.died", "The site died before it kept the answer.")
        return await super().put(kind, key, value, generation=generation)


class SimulatedSite:
    """One site: its clouds, documents, ledger and keys, and its place on the link."""

    def __init__(self, name: str, link: MemorySite, clock: TestClock, mover: FarMover) -> None:
        self.name = name
        self.link = link
        self.clock = clock
        self.mover = mover
        self.clouds: dict[str, Cloud] = {}
        self.documents = LosingDocuments()
        self.ledger = DirectLedger()
        self.keys = Keys(name, clock.wall())
        mover.sealers[name] = self.keys.sealer
        self._numbers = count(1)
        self.inspector: MemoryInspector = MemoryInspector(Guest())
        self.authorizer = AUTHORIZER
        self.look = LookMode.NEVER
        self.gateway = Seated(presence=Presence.HERE, release="0.9.0")
        self.start()

    def start(self) -> None:
        """Begin anew, as a control plane that was killed does: nothing is left but what was durable."""
        tickets = Tickets(lambda: self.documents, self.clock)
        self.mover.tickets[self.name] = tickets
        self.grants = Grants(lambda: self.documents, self.clock)
        self.peer = Peer(
            PeerMeans(
                site=self.name,
                documents=lambda: self.documents,
                ledger=lambda: self.ledger,
                clock=self.clock,
                token=lambda: secrets.token_hex(16),
                signer=self.keys,
                link=self.link,
                partners=self.link,
                mover=self.mover,
                tickets=tickets,
                references=References(lambda: self.documents),
                cloud=lambda tenant, cloud: self.connect(cloud),
                grants=self.grants,
            )
        )
        self.link.answers.clear()
        self.peer.serve(self.link, lambda tenant, partner: self.local(tenant), self.authorizer)

    def local(self, tenant: str = TENANT) -> LocalSite:
        return LocalSite(
            self.name,
            SiteParts(
                tenant=tenant,
                connect=self.connect,
                documents=self.documents,
                ledger=self.ledger,
                mover=self.mover,
                sealer=self.keys.sealer,
                partners=self.link,
                clock=self.clock,
                token=lambda: f"{self.name}-{next(self._numbers)}",
                inspector=self.inspector,
                look=self.look,
                seats=self,
            ),
        )

    def written(self, to: str, operation: str, body: str, *, run: str = "", epoch: int = 0) -> bytes:
        """Return a message of this site that says whatever a test likes."""
        messages = Messages(self.name, MemoryDocuments, self.clock, lambda: secrets.token_hex(16))
        return messages.written(to, operation, body, run=run, epoch=epoch)

    async def seated(self, place: Place) -> Seated:
        """Return the gateway of every place of this site, as a test lets it stand."""
        return replace(self.gateway, gateway=f"{self.name}-{place.subnet}")

    async def connect(self, cloud: str) -> Cloud:
        if cloud not in self.clouds:
            raise errors.NotFound("cloud.unknown", f"There is no cloud {cloud}.", field="cloud")
        return self.clouds[cloud]

    async def site(self, cloud: str) -> Site:
        _, _, partner = cloud.partition("@")
        return self.peer.abroad.site(TENANT, partner) if partner else self.local()

    def parts(self, estimator: Any, hooks: RecordingHooks) -> Parts:
        async def passage(source: str, target: str) -> Passage:
            del source, target
            return Passage()

        return Parts(
            site=self.site,
            mover=self.mover,
            clock=self.clock,
            estimator=estimator,
            hooks=hooks,
            passage=passage,
        )


@dataclass
class TwoSites:
    """Both sites, and one migration between them: alpha is of ``a``, beta of ``b``."""

    a: SimulatedSite
    b: SimulatedSite
    world: World
    link: MemoryWorld


async def two_sites(root: Path, initiator: str = "a", **tags: Any) -> TwoSites:
    """Return both sites, with the VM ``web`` running at alpha, and a migration that ``initiator`` makes."""
    world = await new_world(root, mover=FarMover, **tags)
    assert isinstance(world.mover, FarMover)
    link, mover = MemoryWorld(world.clock), world.mover
    sites = {name: SimulatedSite(name, link.site(name), world.clock, mover) for name in ("a", "b")}
    link.accept("a", "b")
    clouds: dict[str, MemoryCloud] = {"a": world.alpha, "b": world.beta}
    for name, other in (("a", "b"), ("b", "a")):
        sites[name].clouds = {clouds[name].name: clouds[name]}
        known = await link.site(other).partner(name)
        link.site(other).know(
            replace(
                known,
                root=roles.public(sites[name].keys.root),
                roles=sites[name].keys.envelope,
                tenants=(TenantRule(theirs=TENANT, ours=TENANT, clouds=(clouds[other].name,)),),
            )
        )
    here = sites[initiator]
    world.parts = here.parts(world.parts.estimator, world.hooks)
    world.documents = here.documents
    return TwoSites(a=sites["a"], b=sites["b"], world=world, link=link)


def between(initiator: str) -> dict[str, str]:
    """Return the fields of a request that this site makes."""
    if initiator == "a":
        return {"source": "alpha", "target": "beta@b"}
    return {"source": "alpha@a", "target": "beta"}


def fresh(world: World, run: str = "run-1") -> DirectRun:
    """Return a run of another name in the same world."""
    return DirectRun(run, clock=world.clock)
