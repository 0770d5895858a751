"""Two simulated clouds and everything that a migration between them needs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.gateway.claims import ClaimingMover
from crossport.migration.local_site import LocalSite, SiteParts
from crossport.migration.parts import Parts
from crossport.migration.passage import Passage
from crossport.migration.warm import migration_of
from crossport.model.artifact import Counters, DiskRef, Heat, Moved, Progress, Ticket
from crossport.model.construct import Constructs
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.inspection import Guest
from crossport.model.mapping import MappingRules
from crossport.model.run import Act, Estimate, Hook, MigrationReport, MigrationRequest
from crossport.model.vm import VM, PowerState
from crossport.spi.block import BlockReader
from crossport.spi.cloud import Cloud
from crossport.spi.site import Site
from crossport.testing.document import MemoryDocuments
from crossport.testing.file_disk import FileDisks, OpenFileDisk
from crossport.testing.inspector import MemoryInspector
from crossport.testing.mover import CHUNK, MemoryMover
from crossport.testing.run import DirectRun
from crossport.testing.sealer import MemorySealer
from crossport.testing.world import ALPHA, BETA, web_vm
from crossport.transfer.heat import HotLast

BLOCK = 4096
HTTP = HealthChecks(probes=(Probe(kind=ProbeKind.HTTP, port=80),), successes=2, timeout_s=3.0)


class TestClock:
    """A clock that moves only by sleeping."""

    __test__ = False

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class _Guess:
    async def estimate(self, vm: VM, request: MigrationRequest) -> Estimate:
        return Estimate(seconds=1.0, outage_s=1.0, size=sum(disk.size for disk in vm.disks))


class RecordingHooks:
    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fail: Callable[[str], None] = lambda name: None

    def unknown(self, hooks: tuple[Hook, ...]) -> tuple[str, ...]:
        return tuple(hook.name for hook in hooks if hook.name.startswith("unknown"))

    async def run(self, hook: Hook, run: str, vm: VM) -> None:
        self.ran.append(hook.name)
        self.fail(hook.name)


class FaultyMover(MemoryMover):
    """A mover that fails the first ``fail_times`` times, each time ``further`` bytes on.

    A test can act during and after a copy.
    """

    def __init__(self, clock: TestClock) -> None:
        super().__init__(cast("Any", FileDisks()), clock, self._paced)
        self.clock = clock
        self.fail_times, self.further, self.far = 0, 0, 0
        self.forgotten: list[str] = []
        self.during: Callable[[Progress], Awaitable[None]] | None = None
        self.after: Callable[[Ticket], Awaitable[None]] | None = None

    async def _paced(self, progress: Progress) -> None:
        if self.during:
            await self.during(progress)
        await asyncio.sleep(0.01 if self.during else 0)

    async def forget(self, run: str) -> None:
        self.forgotten.append(run)
        await super().forget(run)

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        if self.fail_times:
            self.fail_times -= 1
            self.far += self.further
            report(Progress(artifact=read.artifact, size=read.ref.size, done=self.far))
            raise errors.Unavailable("transfer.worker.gone", "The worker died.")
        moved = await super().move(read, write, report)
        if self.after:
            await self.after(write)
        return moved


def act(step: str, run: str = "test") -> Act:
    """Return a name to act in from outside any migration."""
    return Act(run=run, step=step, epoch=1)


def disk_bytes(cloud: MemoryCloud, vm: VM) -> bytes:
    """Return what is on the VM's first disk."""
    return cloud.disk_path(vm.disks[0].id).read_bytes()


@dataclass
class World:
    """Both clouds, and the parts of a migration between them."""

    alpha: MemoryCloud
    beta: MemoryCloud
    parts: Parts
    mover: FaultyMover
    site: LocalSite
    site_parts: SiteParts
    documents: MemoryDocuments
    hooks: RecordingHooks
    clock: TestClock
    context: DirectRun
    sealer: MemorySealer
    inspector: MemoryInspector

    async def migrate(self, context: DirectRun | None = None, **changes: Any) -> MigrationReport:
        return await migration_of(context or self.context, self.request(**changes), self.parts).run()

    def request(self, **changes: Any) -> MigrationRequest:
        wanted: dict[str, Any] = {
            "vm": "web",
            "source": "alpha",
            "target": "beta",
            "rules": MappingRules(networks={"app": "frontend"}),
            "checks": HTTP,
        }
        return MigrationRequest(**{**wanted, **changes})

    async def source_vm(self) -> VM:
        return await self.alpha.vm("web")

    async def target_vms(self) -> tuple[VM, ...]:
        return await self.beta.vms()

    async def again(self, run: str) -> "World":
        """Another run in the same clouds, with the VM ``web`` made anew at alpha."""
        await self.alpha.create_vm(act("create", run=run), web_vm(), "boot and data")
        return make_world(self.alpha, self.beta, run)

    async def running(self) -> list[str]:
        vms = (*await self.alpha.vms(), *await self.target_vms())
        return [vm.id for vm in vms if vm.power is PowerState.RUNNING]


TWIN = replace(
    BETA, flavors=ALPHA.flavors, networks=(replace(ALPHA.networks[0], name="frontend"), *ALPHA.networks[1:])
)
"""Beta with alpha's sizes and addresses: a guest can wake up there."""


class RememberingMover(FaultyMover):
    """A mover that goes on with what it copied: it reads what may have changed, and writes what differs."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(clock)
        self._whole: set[tuple[str, str]] = set()

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        key = (write.run, write.artifact)
        if key not in self._whole:
            moved = await super().move(read, write, report)
            self._whole.add(key)
            return moved
        heat, counters = self._gone_on(read, write.ref)
        if self.after:
            await self.after(write)
        root = (await self.digest(write.ref, write.place, CHUNK)).root
        return Moved(
            artifact=read.artifact,
            size=read.ref.size,
            chunk_size=CHUNK,
            root=root,
            counters=counters,
            seconds=0.0,
            heat=heat,
        )

    def _gone_on(self, read: Ticket, target: DiskRef) -> tuple[tuple[Heat, ...], Counters]:
        disks, counters, size = FileDisks(), Counters(), read.ref.size
        inner, writer = disks.open_reader(read.ref), disks.open_writer(target)
        reader = HotLast(inner, read.heat, size, unit=BLOCK, defers=read.defers)
        for extent in reader.extents(0, size):
            for start in range(extent.start, extent.start + extent.size, BLOCK):
                size = min(BLOCK, extent.start + extent.size - start)
                counters += (
                    self._block(reader, writer, start, size) if extent.changed else Counters(unchanged=size)
                )
        reader.close()
        writer.close()
        return reader.heat, counters

    def _block(self, reader: BlockReader, writer: OpenFileDisk, start: int, size: int) -> Counters:
        new, old = bytearray(size), bytearray(size)
        reader.read_into(start, memoryview(new))
        writer.read_into(start, memoryview(old))
        if new == old:
            return Counters(read=size, present=size)
        writer.write(start, bytes(new))
        return Counters(read=size, sent=size, written=size)


async def new_world(
    root: Path, *, beta: Constructs = BETA, mover: type[FaultyMover] = FaultyMover, **tags: str
) -> World:
    """Return both clouds with the VM ``web`` running at alpha; ``tags`` make its guest misbehave."""
    here, there = MemoryCloud("alpha", root / "alpha"), MemoryCloud("beta", root / "beta")
    here.found(ALPHA)
    there.found(beta)
    await here.create_vm(Act(run="setup", step="create", epoch=1), web_vm(**tags), "boot and data")
    return make_world(here, there, mover=mover)


def make_world(
    alpha: MemoryCloud, beta: MemoryCloud, run: str = "run-1", *, mover: type[FaultyMover] = FaultyMover
) -> World:
    """Return the parts of a migration between both clouds."""
    clouds: dict[str, Cloud] = {"alpha": alpha, "beta": beta}
    clock, documents, hooks = TestClock(), MemoryDocuments(), RecordingHooks()
    context = DirectRun(run, clock=clock)
    numbers = count(1)
    copier = mover(clock)

    async def connect(name: str) -> Cloud:
        return clouds[name]

    sealer = MemorySealer("here")
    claiming = ClaimingMover(copier, sealer)
    inspector = MemoryInspector(Guest())
    site_parts = SiteParts(
        tenant="default",
        connect=connect,
        documents=documents,
        ledger=context.ledger,
        mover=claiming,
        sealer=sealer,
        clock=clock,
        token=lambda: f"token-{next(numbers)}",
        inspector=inspector,
    )
    site = LocalSite("here", site_parts)

    async def site_of(cloud: str) -> Site:
        return site

    async def passage(source: str, target: str) -> Passage:
        del source, target
        return Passage()

    parts = Parts(site=site_of, mover=claiming, clock=clock, estimator=_Guess(), hooks=hooks, passage=passage)
    return World(
        alpha=alpha,
        beta=beta,
        parts=parts,
        site=site,
        site_parts=site_parts,
        documents=documents,
        hooks=hooks,
        clock=clock,
        mover=copier,
        context=context,
        sealer=sealer,
        inspector=inspector,
    )
