"""Two sites with a simulated cloud each, partners of one another, over a link in this process.

Each has its own documents, ledger and keys. What crosses does so as JSON, signed where it is a statement.
"""

import base64
import secrets
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from tests.unit.migration.world import FaultyMover, RecordingHooks, TestClock, World, new_world

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.identity import role_document as roles
from crossport.identity import statement as statements
from crossport.identity.key_signer import KeySigner
from crossport.identity.messages import Messages
from crossport.migration.local_site import LocalSite, SiteParts
from crossport.migration.partner.desk import DeskParts, SiteDesk
from crossport.migration.partner.foreign import Foreign
from crossport.migration.partner.notary import Notary
from crossport.migration.partner.remote_site import RemoteParts, RemoteSite, Wanted
from crossport.migration.parts import Parts
from crossport.migration.passage import Passage
from crossport.model.artifact import Artifact, DiskRef, Ticket
from crossport.model.keyring import Algorithm, Key, KeyRole
from crossport.model.partner import TenantRule
from crossport.model.permit import SignedStatement, Stated
from crossport.model.role import RoleDocument
from crossport.spi.cloud import Cloud
from crossport.spi.site import Site
from crossport.testing.document import MemoryDocuments
from crossport.testing.partner import MemorySite, MemoryWorld
from crossport.testing.run import DirectLedger, DirectRun

TENANT = "default"


class Keys:
    """A site's keys: its root, its key for statements, and its role document. It signs for the site."""

    def __init__(self, site: str, now: float) -> None:
        self.site = site
        self.root = KeySigner.made(Algorithm.ED25519)
        self.permit = KeySigner.made(Algorithm.ED25519)
        self.document = RoleDocument(
            site=site,
            version=1,
            root=roles.public(self.root),
            issued=now,
            expires=now + roles.DOCUMENT_LIFETIME_S,
            keys=(self.key(self.permit, now),),
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

    async def sign(self, stated: Stated) -> SignedStatement:
        payload = statements.payload_of(stated)
        statements.judged(payload, self.site)
        return statements.signed(payload, self.permit)


class Shown:
    """What a partner was shown: handles for references. Tickets have the references: one process moves."""

    def __init__(self) -> None:
        self.refs: dict[tuple[str, str, str], DiskRef] = {}

    async def shown(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        return tuple(self._shown(partner, run, one) for one in artifacts)

    def _shown(self, partner: str, run: str, artifact: Artifact) -> Artifact:
        handle = next((key[2] for key, ref in self.refs.items() if ref == artifact.ref), secrets.token_hex(8))
        self.refs[partner, run, handle] = artifact.ref
        return replace(artifact, ref=DiskRef(kind="partner", locator=handle, size=artifact.ref.size))

    async def known(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        try:
            return tuple(replace(one, ref=self.refs[partner, run, one.ref.locator]) for one in artifacts)
        except KeyError:
            raise errors.Refused("transfer.reference.foreign", "Nobody was shown this.") from None

    async def give(self, partner: str, ticket: Ticket, *, run: str, tenant: str) -> Ticket:
        return replace(ticket, run=run, tenant=tenant)

    async def forget(self, run: str) -> None:
        self.refs = {key: ref for key, ref in self.refs.items() if key[1] != run}


def taken(partner: str, ticket: Ticket, wanted: Wanted) -> Ticket:
    return replace(ticket, run=wanted.run, tenant=wanted.tenant, epoch=wanted.epoch)


class SimulatedSite:
    """One site: its clouds, documents, ledger and keys, and its place on the link."""

    def __init__(self, name: str, link: MemorySite, clock: TestClock, mover: FaultyMover) -> None:
        self.name = name
        self.link = link
        self.clock = clock
        self.mover = mover
        self.clouds: dict[str, Cloud] = {}
        self.documents = MemoryDocuments()
        self.ledger = DirectLedger()
        self.keys = Keys(name, clock.wall())
        self.shown = Shown()
        self.messages = Messages(name, lambda: self.documents, clock, lambda: secrets.token_hex(16))
        self.notary = Notary(name, self.keys, lambda: self.documents, clock)
        self.foreign = Foreign(lambda: self.documents, clock)
        self._numbers = count(1)
        desk = DeskParts(
            site=self.local,
            messages=self.messages,
            notary=self.notary,
            foreign=self.foreign,
            references=self.shown,
        )
        self.desk = SiteDesk(desk)
        self.desk.serve(link)

    def local(self, tenant: str = TENANT) -> LocalSite:
        return LocalSite(
            self.name,
            SiteParts(
                tenant=tenant,
                connect=self._connect,
                documents=self.documents,
                ledger=self.ledger,
                mover=self.mover,
                clock=self.clock,
                token=lambda: f"{self.name}-{next(self._numbers)}",
            ),
        )

    async def _connect(self, cloud: str) -> Cloud:
        if cloud not in self.clouds:
            raise errors.NotFound("cloud.unknown", f"There is no cloud {cloud}.", field="cloud")
        return self.clouds[cloud]

    def remote(self, partner: str) -> RemoteSite:
        return RemoteSite(
            partner,
            RemoteParts(
                site=self.name,
                tenant=TENANT,
                link=self.link,
                partners=self.link,
                messages=self.messages,
                notary=self.notary,
                clock=self.clock,
                take=taken,
            ),
        )

    async def site(self, cloud: str) -> Site:
        _, _, partner = cloud.partition("@")
        return self.remote(partner) if partner else self.local()

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
    world = await new_world(root, **tags)
    link = MemoryWorld(world.clock)
    sites = {name: SimulatedSite(name, link.site(name), world.clock, world.mover) for name in ("a", "b")}
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
