"""A site over simulated clouds behind its real API, with one token: what tests of the API talk to.

All of it is the product but what a test cannot wait for or afford: guests and gateways are make-believe,
copies happen in this process, and time flies in migrations.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx

from crossport import errors
from crossport.api import Application, Limits, Tokens
from crossport.app.clock import SystemClock
from crossport.app.compose import services_of
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.authorize import PolicyAuthorizer
from crossport.authorize import opened as policy_book
from crossport.clouds import memory
from crossport.clouds.memory import MemoryCloud, MemoryMaker
from crossport.identity.federation import Federation
from crossport.model.access import Right, Role, TokenRequest
from crossport.model.artifact import Progress
from crossport.model.construct import Network
from crossport.model.request import CloudEntry
from crossport.model.run import Act, MigrationRequest, RunRecord, RunState
from crossport.model.vm import VM
from crossport.spi.audit import Audit
from crossport.spi.document import Documents
from crossport.spi.secret import Secrets
from crossport.testing.file_disk import FileDisks
from crossport.testing.gateway import MemoryGateways
from crossport.testing.mover import MemoryMover
from crossport.testing.world import ALPHA, web_vm
from crossport.transfer.egress import Egress
from crossport.transfer.web_text import WebTexts

GENEROUS = Limits(rate=10_000, burst=100_000)
OFFICE = Network(name="office", cidr="10.30.0.0/24", gateway="10.30.0.1")
OFFER = dataclasses.replace(
    ALPHA,
    networks=(*ALPHA.networks, OFFICE),
    free=dataclasses.replace(ALPHA.free, vms=1000, cpus=1000, memory=1 << 50),
)
"""What both clouds have: a VM moves without a word about its mapping."""
STUCK = "network.stuck"
"""A VM with this tag gets no network at the target: its run needs attention."""


class MovableClock(SystemClock):
    """The machine's clock, and however far a test moved it."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.moved_s

    def monotonic(self) -> float:
        return super().monotonic() + self.moved_s


class SwiftClock(MovableClock):
    """A clock on which sleeping takes no time.

    Its wall runs ahead of the machine's by what was slept since `settle`: the signer is a process of its own,
    and signs nothing at a time that is minutes away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._slept_s = self._ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self._ahead_s

    def monotonic(self) -> float:
        return super().monotonic() + self._slept_s

    def settle(self) -> None:
        """Let the wall show the machine's time again."""
        self._ahead_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self._slept_s += seconds
        self._ahead_s += seconds
        await asyncio.sleep(min(seconds, 0.01))


class MoodyCloud(MemoryCloud):
    """A simulated cloud that fails where a VM's tag says so."""

    async def open_network(self, act: Act, vm_id: str) -> None:
        if STUCK in (await self.vm(vm_id)).tags:
            raise errors.Broken("cloud.state.odd", "The network cannot be opened.", remedy="Repair it.")
        await super().open_network(act, vm_id)


async def connect(entry: CloudEntry, secrets: Secrets) -> MoodyCloud:
    """Connect as the driver does, with what it refuses."""
    await memory.connect(entry, secrets)
    return MoodyCloud(entry.name, Path(entry.settings["path"]))


class Counter:
    """Bytes and ids that differ each time, and are the same in each session."""

    def __init__(self) -> None:
        self.count = 0

    def bytes(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def id(self) -> str:
        self.count += 1
        return f"{self.count:016x}"


@dataclass
class Site:
    """What a test needs to talk to the site and to look behind it."""

    root: Path
    application: Application
    opened: OpenSite
    gateways: MemoryGateways
    tokens: Tokens
    authorizer: PolicyAuthorizer
    clock: MovableClock
    swift: SwiftClock
    secret: str
    made: Iterator[int] = field(default_factory=count)

    @property
    def store(self) -> Documents:
        return self.opened.engine.documents

    async def token(self, role: Role, *rights: Right, tenant: str = "default", days: int = 1) -> str:
        """Return the text of a new token."""
        request = TokenRequest(name="test", role=role, rights=rights, days=days)
        return (await self.tokens.create(request, tenant=tenant))[1].reveal()

    def client(self, secret: str | None = None) -> httpx.AsyncClient:
        """Return a client that sends ``secret``, or else the token with all rights."""
        headers = {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        transport = httpx.ASGITransport(self.application.asgi)
        return httpx.AsyncClient(transport=transport, base_url="http://site", headers=headers)

    async def found(self, name: str) -> CloudEntry:
        """Let there be a cloud, and return how it is connected."""
        cloud = MemoryCloud(name, self.root / name)
        cloud.found(OFFER)
        return CloudEntry(name=name, driver="memory", settings={"path": str(self.root / name)})

    async def vm(self, name: str, **tags: str) -> VM:
        """Make a running VM at alpha. A tag's underscores become dots."""
        wanted = dataclasses.replace(web_vm(**tags), name=name)
        return await self._made(wanted)

    async def of_project(self, name: str, project: str) -> VM:
        """Make a running VM at alpha that lies in a project of its own."""
        return await self._made(dataclasses.replace(web_vm(), name=name, project=project))

    async def chained(self, name: str) -> VM:
        """Make a VM that somebody has to decide about: its disk is a layer over another."""
        wanted = dataclasses.replace(web_vm(), name=name)
        (disk,) = wanted.disks
        return await self._made(
            dataclasses.replace(wanted, disks=(dataclasses.replace(disk, backing="base"),))
        )

    async def _made(self, wanted: VM) -> VM:
        alpha = MemoryCloud("alpha", self.root / "alpha")
        act = Act(run=f"made-{next(self.made)}", step="create", epoch=1)
        return await alpha.create_vm(act, wanted, "boot and data")

    async def migrated(self, request: MigrationRequest, key: str) -> RunRecord:
        """Begin a run and return it when it has ended, or waits."""
        run = await self.opened.control.migrate("default", request, key)
        async for event in self.opened.control.events("default", run.id, after=0, follow=True):
            if event.state is RunState.WAITING:
                break
        return await self.opened.control.run("default", run.id)


@asynccontextmanager
async def site(
    root: Path,
    *,
    limits: Limits = GENEROUS,
    audit: Audit | None = None,
    egress: tuple[str, ...] = (),
    pace: Callable[[Progress], Awaitable[None]] | None = None,
) -> AsyncGenerator[Site]:
    """Run a site below ``root`` with the clouds alpha (VMs web, db, odd) and beta.

    With ``audit`` requests are told there, and not in the site's own log. ``egress`` is what it may fetch.
    ``pace`` is awaited in the middle of copies.
    """
    clock, swift, counter = MovableClock(), SwiftClock(), Counter()
    allowed = Egress(egress, resolve=lambda host, port: ())  # so that nothing is asked of the network
    async with open_site(
        SiteSettings(name="test", state_dir=root / "control", egress=allowed),
        swift,
        MemoryMover(cast("Any", FileDisks()), swift, pace),
        connects={"memory": connect},
        maker=MemoryMaker(root / "clouds"),
    ) as opened:
        gateways = MemoryGateways(clock)
        tokens = Tokens(opened.engine.documents, clock, counter.bytes)
        request = TokenRequest(name="first", role=Role.ADMIN, rights=(Right.RETIRE, Right.SITE), days=0)
        _, secret = await tokens.create(request, tenant="default")
        authorizer = PolicyAuthorizer(policy_book())
        own = services_of(opened, tokens, authorizer)
        federation = Federation(opened.federation.book, WebTexts(allowed), clock, counter.bytes)
        services = dataclasses.replace(
            own, gateways=gateways, audit=audit or own.audit, federation=federation
        )
        application = Application(services, clock=clock, new_id=counter.id, limits=limits)
        one = Site(root, application, opened, gateways, tokens, authorizer, clock, swift, secret.reveal())
        for name in ("alpha", "beta"):
            await opened.control.add_cloud("default", await one.found(name))
        for name in ("web", "db"):
            await one.vm(name)
        await one.chained("odd")
        yield one
