"""What the tests of gateways share: one site with its door, gateways that join it, and scripted workers."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from crossport import errors
from crossport.gateway import agent, hub, listener
from crossport.gateway.identity import Kept
from crossport.gateway.jobs import Jobs, StartPipe
from crossport.gateway.join import unpacked
from crossport.gateway.office import Means, Office
from crossport.identity import SiteIdentity
from crossport.model.artifact import DiskRef, Place, Ticket, Way
from crossport.model.gateway import EnrollRequest, Enrolment
from crossport.testing.document import MemoryDocuments
from crossport.transfer.confined import LocalHost, piped
from crossport.transfer.frame import Hello
from crossport.transfer.host import Way as WorkerWay
from crossport.transfer.job import End, Job
from crossport.transfer.manner import Manner
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import SEGMENT

Subnet: TypeAlias = Literal["VMExportSubnet", "VMImportSubnet"]
EXPORT: Subnet = "VMExportSubnet"
IMPORT: Subnet = "VMImportSubnet"


class MachineClock:
    """The machine's own time, ``ahead_s`` later by the wall."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScriptedPipe:
    """A worker that says what the test says, and keeps what it is given."""

    def __init__(self, way: WorkerWay, place: Place) -> None:
        self.name = f"the {way} worker"
        self.certificate = "its certificate"
        self.place = place
        self.given: list[bytes] = []
        self.ended = False
        self.says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def give(self, line: bytes) -> None:
        self.given.append(line)

    async def said(self) -> dict[str, Any]:
        return await self.says.get()


class Workers:
    """Starts scripted workers; ``all`` are those that were started, in order.

    Those whose numbers are in ``held`` do not end before their event.
    """

    def __init__(self) -> None:
        self.all: list[ScriptedPipe] = []
        self.found: list[int] = []
        self.stocks: list[Access | None] = []
        self.published: list[tuple[DiskRef, ...]] = []
        self.held: dict[int, asyncio.Event] = {}

    @asynccontextmanager
    async def start(
        self,
        way: WorkerWay,
        ref: DiskRef,
        place: Place,
        journal: int,
        stock: Access | None = None,
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[ScriptedPipe]:
        if ref.kind == "closed":
            raise errors.Unavailable("transfer.disk.closed", "It is not there.")
        # The file is as it was left: each worker finds a mark for each one before it.
        self.stocks.append(stock)
        self.published.append(published)
        self.found.append(len(os.pread(journal, 16, 0)))
        os.pwrite(journal, bytes(len(self.all) + 1), 0)
        pipe = ScriptedPipe(way, place)
        self.all.append(pipe)
        number = len(self.all) - 1
        try:
            yield pipe
        finally:
            if number in self.held:
                await self.held[number].wait()
            pipe.ended = True


@dataclass
class RunningGateway:
    """A gateway that runs in this process."""

    id: str
    kept: Kept
    jobs: Jobs
    task: asyncio.Task[None]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@dataclass
class Site:
    """A site with its door at a socket; another one with the same documents is another node of it."""

    directory: Path
    documents: MemoryDocuments
    identity: SiteIdentity
    clock: MachineClock
    hub: hub.Hub
    held: AsyncExitStack
    gateways: list[RunningGateway] = field(default_factory=list[RunningGateway])

    async def enrolled(self, subnet: Subnet = EXPORT, *, tenant: str = "acme") -> Enrolment:
        return await self.hub.enroll(tenant, EnrollRequest(cloud="alpha", subnet=subnet))

    async def joined(self, enrolment: Enrolment, home: Path | None = None) -> Kept:
        invitation = unpacked(enrolment.join, enrolment.fingerprint)
        kept = Kept((home or self.directory) / "gateway" / invitation.gateway)
        await agent.join(invitation, kept)
        return kept

    def run(self, kept: Kept, start: StartPipe = piped, *, boot: str = "") -> RunningGateway:
        jobs = Jobs(start, self.clock, directory=kept.directory, stock_size=SEGMENT)
        means = agent.Means(self.clock, lambda: 0.5, boot or secrets.token_hex(8))
        task = asyncio.create_task(agent.Agent(kept, jobs, means).run())
        running = RunningGateway(kept.membership().gateway, kept, jobs, task)
        self.gateways.append(running)
        return running

    async def gateway(self, subnet: Subnet = EXPORT, start: StartPipe = piped) -> RunningGateway:
        """Enroll one, let it join, run it, and wait until it is connected."""
        running = self.run(await self.joined(await self.enrolled(subnet)), start)
        await self.until_connected(running.id)
        return running

    def connected(self, gateway: str) -> bool:
        desk = self.hub.desks.get(gateway)
        return desk is not None and desk.connected

    async def until_connected(self, gateway: str, *, connected: bool = True) -> None:
        async with asyncio.timeout(30):
            while self.connected(gateway) is not connected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        for one in self.gateways:
            await one.stop()
        await self.held.aclose()


async def opened(
    directory: Path, *, node: str = "node", name: str = "north", documents: MemoryDocuments | None = None
) -> Site:
    """Open a site's node below ``directory``."""
    clock = MachineClock()
    identity = SiteIdentity.open(directory / "identity", name, clock=clock)
    kept = documents or MemoryDocuments()
    office = Office(Means(lambda: kept, identity, clock, os.urandom))
    one = hub.Hub(office, clock, LocalHost(), boot=secrets.token_hex(8))
    held = AsyncExitStack()
    doors = listener.Doors(directory / f"{node}.gate")
    await held.enter_async_context(listener.listening(one, identity, doors, node, clock))
    return Site(directory, kept, identity, clock, one, held)


def place(subnet: str = EXPORT, *, tenant: str = "acme", cloud: str = "alpha") -> Place:
    return Place(cloud=cloud, subnet=subnet, address="127.0.0.1", tenant=tenant)


def job(way: Way = Way.READ, *, at: Place | None = None, **changes: Any) -> Job:
    """Return a sound job; changes are those of its ticket, ``hello`` another one than would belong to it."""
    facts: dict[str, Any] = {
        "id": "ticket",
        "tenant": "acme",
        "run": "run-1",
        "epoch": 1,
        "artifact": "disk-0",
        "way": way,
        "ref": DiskRef(kind="file", locator="/srv/disk", size=4096),
        "place": at or place(EXPORT if way is Way.READ else IMPORT),
        "byte_budget": 1 << 30,
        "expires": time.time() + 300,
        "nonce": "nonce",
    }
    said: Hello | None = changes.pop("hello", None)
    ticket = Ticket(**(facts | changes))
    hello = said or Hello(
        1, ticket.tenant, ticket.run, ticket.artifact, ticket.epoch, ticket.ref.size, 1 << 18
    )
    return Job(ticket, hello, End("the peer's certificate", "127.0.0.1", 1), Manner(), 5, 5)
