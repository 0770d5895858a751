"""Put one site together: identity, engine, drivers, mover, hooks, and the control above them."""

import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import httpx

from crossport import errors
from crossport.app.figures import CountedMover, NodeFigures
from crossport.app.grant_parts import grant_watch
from crossport.app.inspecting import inspecting
from crossport.app.master_key import MasterSource, master_keys
from crossport.app.partner_parts import PartnerMeans, PartnerParts, partner_parts
from crossport.app.peer_parts import Among, LinkRates, keep_evidence, partner_disks, peer_of, serve_partners
from crossport.app.sealed import SealedDocuments
from crossport.app.shared_identity import share_identity, shared_documents
from crossport.authorize import PolicyAuthorizer
from crossport.authorize import opened as policy_book
from crossport.clouds.local.maker import LocalMaker
from crossport.engine import Engine, EngineSettings
from crossport.gateway.claims import OWN, ClaimingMover, OwnClaims
from crossport.gateway.hub import Hub
from crossport.gateway.office import Means, Office
from crossport.gateway.own_host import OwnHost
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets, SiteIdentity
from crossport.identity.federation import Federation, FederationBook
from crossport.identity.link_authority import LinkAuthorities
from crossport.identity.sealer import SealerMeans, SiteSealer
from crossport.identity.signing.desk import Authority
from crossport.identity.signing.heads import KeptHeads as SignedHeads
from crossport.identity.signing.keeper import Keeper
from crossport.identity.signing.placed import SealPlace
from crossport.identity.site_keys import KeptKeys
from crossport.identity.tls import fingerprint
from crossport.inspector import GuestLook
from crossport.migration.control import MeansOfControl, SiteControl
from crossport.migration.embedded import SiteMaking
from crossport.migration.fetch import FetchMeans, WebImages
from crossport.migration.fetches import Fetches, FetchParts
from crossport.migration.grant_watch import GrantWatch
from crossport.migration.grants import Grants, GrantTerms
from crossport.migration.heads import HeadParts, KeptHeads
from crossport.migration.hook import Command, OperatorHooks, Webhook
from crossport.migration.limits import Limits
from crossport.migration.parts import RateProbe
from crossport.migration.registry import CloudRegistry
from crossport.model.inspection import LookMode
from crossport.model.request import CloudEntry
from crossport.spi.authorize import Authorizer
from crossport.spi.clock import Clock
from crossport.spi.cloud import Cloud
from crossport.spi.document import Documents
from crossport.spi.driver import GROUP, Connect
from crossport.spi.inspect import Scanner
from crossport.spi.making import CloudMaker
from crossport.spi.mover import Mover
from crossport.spi.secret import Secrets
from crossport.spi.trust import PartnerRuns
from crossport.transfer.confined import Inspecting, LocalHost
from crossport.transfer.dialling import Dialling
from crossport.transfer.egress import Egress
from crossport.transfer.host import WorkerHost
from crossport.transfer.look import WebLook
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.rate_probe import WorkerRateProbe
from crossport.transfer.simple import Settings, SimpleMover
from crossport.transfer.stocks import Stocks
from crossport.transfer.web_text import WebTexts

__all__ = ["OpenSite", "SiteSettings", "drivers", "open_site"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """What makes a site: its name, where its state lies, its database, and what the operator registered.

    ``stock_size`` bounds what its own workers keep for each tenant of the content that passes through,
    ``images_most`` how many published images they look into for each disk. ``partner_address`` is where
    partners reach it (``https://HOST:PORT``), empty where they do not. ``authorizer`` decides
    what they may. ``scanner`` scans guests for malware, where there is one. ``master`` is where the key comes
    from that opens its secrets, ``seal`` where the seal key lies (None: in the signer's file). ``look``:
    whether guests that leave are looked into.
    """

    name: str
    state_dir: Path
    database_url: str = field(default="", repr=False)
    node: str = "node"
    keep_days: float = 90.0
    keep_runs: int = 10_000
    stock_size: int = 0
    images_most: int = 0
    commands: Mapping[str, Command] = field(default_factory=dict[str, Command])
    webhooks: Mapping[str, Webhook] = field(default_factory=dict[str, Webhook])
    egress: Egress = field(default_factory=lambda: Egress(()))
    fetch_size: int = 256 << 30
    partner_address: str = ""
    grant_terms: GrantTerms = field(default_factory=GrantTerms)
    authorizer: Authorizer = field(default_factory=lambda: PolicyAuthorizer(policy_book()))
    scanner: Scanner | None = None
    master: MasterSource = field(default_factory=MasterSource)
    seal: SealPlace | None = None
    look: LookMode = LookMode.NEVER


@dataclass(frozen=True, slots=True)
class OpenSite:
    """A site that runs."""

    control: SiteControl
    rates: Limits
    engine: Engine
    identity: SiteIdentity
    hub: Hub
    making: SiteMaking
    figures: NodeFigures
    keys: KeptKeys
    heads: KeptHeads
    partners: PartnerParts
    served: PartnerRuns
    federation: Federation
    grants: Grants
    grant_watch: GrantWatch


def drivers() -> dict[str, Connect]:
    """Return all installed drivers by name, without loading the libraries of those that are not used."""
    return {point.name: _late(point) for point in entry_points(group=GROUP)}


def _late(point: EntryPoint) -> Connect:
    async def connect(entry: CloudEntry, known: Secrets) -> Cloud:
        try:
            found: Connect = point.load()
        except ImportError as error:
            raise errors.Unavailable(
                "cloud.driver.missing",
                f"The driver {point.name} needs {error.name}, which is not installed.",
                remedy=f"Install it with: pip install 'crossport[{point.name}]'",
            ) from error
        return await found(entry, known)

    return connect


def _host(settings: SiteSettings, tool: Inspecting) -> LocalHost:
    """Return what starts workers on this machine."""
    stocks = Stocks(settings.state_dir / "stocks", settings.stock_size)
    stocks.tidy()
    return LocalHost(settings.state_dir / "journals", stocks, tool)


@asynccontextmanager
async def open_site(
    settings: SiteSettings,
    clock: Clock,
    mover: Mover | None = None,
    *,
    probe: RateProbe | None = None,
    connects: Mapping[str, Connect] | None = None,
    maker: CloudMaker | None = None,
) -> AsyncGenerator[OpenSite]:
    """Run the site until the context ends; runs in it go on at the next opening.

    ``mover`` replaces the simple one, in tests and benches; then links are measured by ``probe`` alone.
    ``connects`` replaces the installed drivers, ``maker`` what makes clouds on this machine.
    """
    identity, folder = await _identity(settings, clock), settings.state_dir
    master, engine = await _master(settings), _engine(settings, clock)
    sealed = _sealed(settings, engine, master)
    registry = CloudRegistry(drivers() if connects is None else connects, engine, sealed)
    claims, rates = OwnClaims(identity, settings.node, clock), _rates(settings, engine, clock)
    own, hub, look = _gateways(settings, engine, identity, claims)
    keeper, keys, partners = _partners(settings, engine, identity, sealed, master, clock)
    among, names = Among(settings.name, partners, engine, clock), NameKeys(master.derived("transfer names"))
    disks = partner_disks(among, hub, names, settings.egress)
    dialling, grants = Dialling(), Grants(lambda: engine.documents, clock, settings.grant_terms)
    simple = SimpleMover(disks.host, clock, Settings(egress=settings.egress), rates, dialling, names)
    counted = CountedMover(ClaimingMover(mover, claims) if mover else simple)
    peer = peer_of(among, disks, counted, keys, registry, grants)
    control = SiteControl(
        MeansOfControl(
            site=settings.name,
            engine=engine,
            registry=registry,
            mover=counted,
            sealer=SiteSealer(_sealing(settings, keeper, hub.office, lambda: engine.documents)),
            hooks=OperatorHooks(settings.commands, settings.webhooks, post=_post, clock=clock),
            clock=clock,
            token=lambda: secrets.token_hex(16),
            probe=probe if mover else LinkRates(probe or _probe(disks.host, clock, dialling), among),
            seats=hub,
            images_most=settings.images_most,
            abroad=peer.abroad,
            partners=partners.book,
            inspector=look,
            look=settings.look,
        )
    )
    served = serve_partners(among, peer, control.audited_site, settings.authorizer, registry)
    fetches = _fetches(engine, _web(settings, hub, counted, clock), registry, sealed, clock)
    async with engine:
        try:
            await _in_turn(partners.rounds.follow, own.tidy, fetches.prune)
            making = SiteMaking(registry, maker or _local(folder), control, fetches)
            figures, heads = NodeFigures(counted, hub.desks), _heads(settings, engine, keys, clock)
            keep_evidence(among, peer, heads)
            idp = _federation(engine.documents, settings.egress, sealed, clock)
            parts = (control, rates, engine, identity, hub, making, figures, keys, heads, partners, served)
            yield OpenSite(*parts, idp, grants, grant_watch(among, grants, idp, peer, counted))
        finally:
            await _in_turn(peer.close, keeper.close, registry.close)


async def _in_turn(*calls: Callable[[], Awaitable[object]]) -> None:
    for call in calls:
        await call()


def _probe(host: WorkerHost, clock: Clock, dialling: Dialling) -> RateProbe:
    return WorkerRateProbe(host, clock, dialling=dialling)


def _rates(settings: SiteSettings, engine: Engine, clock: Clock) -> Limits:
    return Limits(lambda: engine.documents, clock, settings.node)


async def _identity(settings: SiteSettings, clock: Clock) -> SiteIdentity:
    """Return who the site is, which its nodes agree on."""
    folder = settings.state_dir / "identity"
    if settings.database_url:
        async with shared_documents(settings.state_dir, settings.database_url) as documents:
            await share_identity(folder, settings.name, documents, clock, settings.master)
    return SiteIdentity.open(folder, settings.name, clock=clock)


async def _master(settings: SiteSettings) -> MasterKeys:
    return await master_keys(settings.state_dir / "identity", settings.state_dir / "secrets", settings.master)


def _gateways(
    settings: SiteSettings, engine: Engine, identity: SiteIdentity, claims: OwnClaims
) -> tuple[OwnHost, Hub, GuestLook]:
    """Return what starts workers here, the way to the gateways of others, and what looks into guests."""
    clock = claims.clock
    office = Office(Means(lambda: engine.documents, identity, clock, os.urandom))
    tool = inspecting(settings.state_dir.parent / "inspector")
    own = OwnHost(_host(settings, tool), office.keeping, settings.node, claims)
    hub = Hub(office, clock, own, boot=secrets.token_hex(8))
    return own, hub, GuestLook(hub, tool, scanner=settings.scanner, reach=hub.require_own)


def _sealed(settings: SiteSettings, engine: Engine, master: MasterKeys) -> SealedSecrets:
    """Return the secrets. Nodes that share a database share them: each can take over another's runs."""
    shared, folder = bool(settings.database_url), settings.state_dir / "secrets"
    store = SealedDocuments(engine) if shared else SealedFiles(folder)
    return SealedSecrets(store, master, site=settings.name, entropy=os.urandom)


def _federation(documents: Documents, egress: Egress, sealed: Secrets, clock: Clock) -> Federation:
    """Return what knows whom others know. Providers are asked within what ``egress`` allows."""
    texts = WebTexts(egress)
    return Federation(FederationBook(documents, texts, sealed, clock), texts, clock, os.urandom)


def _partners(
    settings: SiteSettings,
    engine: Engine,
    identity: SiteIdentity,
    sealed: Secrets,
    master: MasterKeys,
    clock: Clock,
) -> tuple[Keeper, KeptKeys, PartnerParts]:
    """Return what keeps the site's keys, the keys for its operator, and the link to other sites."""
    authorities = LinkAuthorities(identity, sealed, lambda: engine.documents, clock)
    keeper = _keeper(settings, identity, master, authorities)
    keys = KeptKeys(keeper, lambda: engine.documents, clock, site=settings.name, node=settings.node)
    means = PartnerMeans(
        site=settings.name,
        address=settings.partner_address,
        keys=keys,
        relist=keeper.close,
        authorities=authorities,
        documents=lambda: engine.documents,
        audit=lambda: engine.audit,
        clock=clock,
        secret=master.derived("partner invitations"),
    )
    return keeper, keys, partner_parts(means)


def _keeper(
    settings: SiteSettings, identity: SiteIdentity, master: MasterKeys, authorities: LinkAuthorities
) -> Keeper:
    """Return what starts and asks this node's signer."""
    approvals = master.derived("approvals").hex()
    return Keeper(
        settings.state_dir / "signer",
        lambda: Authority(
            site=settings.name, key=authorities.own_key, approvals=approvals, others=authorities.keys
        ),
        settings.seal,
    )


def _heads(settings: SiteSettings, engine: Engine, keys: KeptKeys, clock: Clock) -> KeptHeads:
    return KeptHeads(
        HeadParts(
            site=settings.name,
            book=lambda: engine.audit,
            documents=lambda: engine.documents,
            signer=SignedHeads(keys),
            clock=clock,
        )
    )


def _sealing(
    settings: SiteSettings, keeper: Keeper, office: Office, documents: Callable[[], Documents]
) -> SealerMeans:
    """Return what seals are made with. Claims of this site's nodes count, and of gateways it trusts now."""

    async def admitted(gateway: str, certificate: str, cloud: str) -> None:
        if not gateway.startswith(OWN):
            (await office.admitted(gateway, fingerprint(certificate))).require_of(cloud)

    authority = keeper.authority()
    return SealerMeans(
        site=settings.name,
        node=settings.node,
        keeper=keeper,
        documents=documents,
        authority=authority.key,
        approvals=bytes.fromhex(authority.approvals),
        clock=office.clock,
        admitted=admitted,
    )


def _engine(settings: SiteSettings, clock: Clock) -> Engine:
    chosen = EngineSettings(
        state_dir=settings.state_dir,
        node=settings.node,
        site=settings.name,
        database_url=settings.database_url,
        keep_days=settings.keep_days,
        keep_count=settings.keep_runs,
    )
    return Engine(chosen, clock)


def _web(settings: SiteSettings, hub: Hub, mover: Mover, clock: Clock) -> WebImages:
    means = FetchMeans(
        folder=settings.state_dir / "fetched",
        look=WebLook(hub, settings.egress),
        mover=mover,
        clock=clock,
        token=lambda: secrets.token_hex(16),
    )
    return WebImages(means, settings.fetch_size)


def _local(folder: Path) -> LocalMaker:
    return LocalMaker(folder.parent / "clouds", lambda: secrets.token_urlsafe(32))


def _fetches(
    engine: Engine, web: WebImages, registry: CloudRegistry, sealed: SealedSecrets, clock: Clock
) -> Fetches:
    return Fetches(
        FetchParts(
            engine=engine,
            web=web,
            registry=registry,
            secrets=sealed,
            clock=clock,
            token=lambda: secrets.token_hex(16),
        )
    )


async def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    try:
        async with httpx.AsyncClient(timeout=timeout_s, follow_redirects=False) as client:
            return (await client.post(url, content=body, headers=dict(headers))).status_code
    except httpx.HTTPError as error:
        raise errors.Unavailable(
            "hook.receiver.gone",
            f"{type(error).__name__}",
            remedy="Start what receives the webhook, or correct its address in the settings.",
        ) from error
