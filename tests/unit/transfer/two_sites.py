"""What the tests of copies between two sites share: north, which has the mover, and its partner south."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.conformance.test_movers import MachineClock

from crossport.model import codec
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.spi.limit import RateLimits
from crossport.spi.partner import Lines
from crossport.testing.document import MemoryDocuments
from crossport.testing.partner import MemorySite, MemoryWorld
from crossport.transfer import credential
from crossport.transfer.confined import LocalHost
from crossport.transfer.frame import Hello
from crossport.transfer.host import Journal, Worker, WorkerHost
from crossport.transfer.host import Way as WorkerWay
from crossport.transfer.job import End, Job
from crossport.transfer.manner import Manner
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.partner import talk
from crossport.transfer.partner.grant import Asked, Tickets, taken
from crossport.transfer.partner.host import PartnerHost
from crossport.transfer.partner.hosts import BothHosts
from crossport.transfer.partner.service import PartnerWorkers, Serving
from crossport.transfer.simple import SimpleMover
from crossport.transfer.stocks import Stocks

NORTH, SOUTH = "north", "south"
THERE = "south/run-1"
"""What south calls the run that north calls run-1."""
CERTIFICATE = credential.made().certificate
DISK = DiskRef(
    kind="nbd", locator="unix:/srv/clouds/beta/disk-0.sock?export=disk", size=1 << 20, identity="v-1"
)
_numbers = itertools.count()


class Scripted:
    """A worker that says what the test says, and keeps what it is given."""

    name = "the worker"
    certificate = "south's certificate"

    def __init__(self, started: tuple[Any, ...]) -> None:
        self.started = started
        self.given: list[bytes] = []
        self.ended = asyncio.Event()
        self.says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def give(self, line: bytes) -> None:
        self.given.append(line)

    async def said(self) -> dict[str, Any]:
        return await self.says.get()


class ScriptedHost:
    """Starts scripted workers."""

    def __init__(self) -> None:
        self.all: list[Scripted] = []

    @asynccontextmanager
    async def started(
        self,
        way: WorkerWay,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        pipe = Scripted((way, ref, place, journal, stock, published))
        self.all.append(pipe)
        try:
            yield Worker(pipe)
        finally:
            pipe.ended.set()

    async def forget(self, run: str) -> None:
        del run


@dataclass
class Site:
    """One of them."""

    world: MemoryWorld
    link: MemorySite
    host: WorkerHost
    tickets: Tickets
    workers: PartnerWorkers
    mover: SimpleMover
    names: NameKeys
    documents: MemoryDocuments


def site(
    world: MemoryWorld, name: str, host: WorkerHost, secret: bytes, limits: RateLimits | None = None
) -> Site:
    """Make one site that serves its partners with ``host``."""
    clock, documents, names = world.clock, MemoryDocuments(), NameKeys(secret)
    tickets = Tickets(lambda: documents, clock)
    workers = PartnerWorkers(Serving(host=host, tickets=tickets, clock=clock, names=names))
    link = world.site(name)
    link.converse(talk.OPERATION, workers.converse)
    both = BothHosts(host, PartnerHost(link, clock), workers)
    mover = SimpleMover(both, clock, names=names, limits=limits)
    return Site(world, link, host, tickets, workers, mover, names, documents)


def local(directory: Path, *, stock_size: int = 0) -> LocalHost:
    """Return a host of real workers that keeps its journals below ``directory``."""
    return LocalHost(directory / "journals", Stocks(directory / "stocks", stock_size))


def two_sites(north: WorkerHost, south: WorkerHost, limits: RateLimits | None = None) -> tuple[Site, Site]:
    """Return two partners whose workers these hosts start."""
    world = MemoryWorld(MachineClock())
    pair = site(world, NORTH, north, b"n" * 32, limits), site(world, SOUTH, south, b"s" * 32)
    world.accept(NORTH, SOUTH)
    return pair


async def from_south(south: Site, ticket: Ticket) -> Ticket:
    """Return south's own ticket as north gets it: as one of north's tenant and run."""
    own = replace(ticket, tenant="southern", run=f"{SOUTH}/{ticket.run}")
    own = replace(own, place=replace(ticket.place, cloud="beta", tenant="southern"))
    shown = await south.tickets.give(NORTH, own, tenant=ticket.tenant, run=ticket.run)
    asked = Asked(ticket.tenant, ticket.run, ticket.epoch, ticket.artifact, ticket.way, ticket.ref)
    return taken(SOUTH, shown, asked)


async def gone(south: Site) -> None:
    """Return when south runs no worker for a partner."""
    async with asyncio.timeout(30):
        while south.workers.count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class AbroadMover:
    """North's mover where one end is at south: south gives the ticket of that end, and reads it at rest."""

    def __init__(self, north: Site, south: Site, abroad: Way) -> None:
        self._north = north
        self._south = south
        self._abroad = abroad

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        if self._abroad is Way.READ:
            read = await from_south(self._south, read)
        else:
            write = await from_south(self._south, write)
        return await self._north.mover.move(read, write, report)

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int = 1 << 18, copied: Copied | None = None
    ) -> Digest:
        if self._abroad is Way.READ:
            return await self._north.mover.digest(ref, place, chunk_size, copied)
        there = replace(copied, tenant="southern", run=f"{SOUTH}/{copied.run}") if copied else None
        return await self._south.mover.digest(ref, place, chunk_size, there)

    async def forget(self, run: str) -> None:
        await self._north.mover.forget(run)
        await self._south.mover.forget(f"{SOUTH}/{run}")


def ticket(way: Way = Way.WRITE, **changes: Any) -> Ticket:
    """Return a ticket of south's disk, for north's run."""
    facts: dict[str, Any] = {
        "id": f"ticket-{next(_numbers)}",
        "tenant": "acme",
        "run": "run-1",
        "epoch": 1,
        "artifact": "disk-0",
        "way": way,
        "ref": DISK,
        "place": Place(cloud="own", subnet="VMImportSubnet", address="100.96.0.9", namespace="cp-1"),
        "byte_budget": 1 << 30,
        "expires": time.time() + 300,
        "nonce": "nonce",
        "published": (DiskRef(kind="file", locator="/srv/images/base", size=1 << 20),),
    }
    return Ticket(**(facts | changes))


def job(shown: Ticket, **changes: Any) -> Job:
    """Return the job that north's mover would send for a ticket it holds."""
    hello = Hello(2, shown.tenant, shown.run, shown.artifact, shown.epoch, shown.ref.size, 1 << 18)
    sound = Job(shown, hello, End(CERTIFICATE, "100.96.0.1", 0), Manner(), 60.0, 10.0, names_key="aa" * 32)
    return replace(sound, **changes)


@asynccontextmanager
async def opened(south: Site, word: str, way: Way = Way.WRITE, partner: str = NORTH) -> AsyncGenerator[Lines]:
    """Be the partner, and ask for a worker."""
    north = south.world.site(partner)
    opening = codec.encoded(talk.Opening(ticket=word, way=way)).encode()
    async with asyncio.timeout(30), north.stream(SOUTH, talk.OPERATION, opening) as lines:
        yield lines


async def heard(lines: Lines) -> dict[str, Any]:
    line = await lines.receive()
    assert line is not None
    return json.loads(line)
