"""One simulated schedule: migrations of one or two VMs through whatever its fate holds."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from tests.simulation.fate import Fate, UnsteadyCloud
from tests.unit.migration.world import TWIN, World, act, make_world

from crossport import errors
from crossport.clouds.memory import tracking
from crossport.migration.end import Ends, Hold
from crossport.migration.parts import Parts
from crossport.migration.permit import SourceState
from crossport.migration.resolve import Resolution, resolved
from crossport.migration.warm import migration_of
from crossport.model.artifact import Ticket
from crossport.model.request import ResolveAs
from crossport.model.run import (
    Act,
    CommitRule,
    Cutover,
    LedgerState,
    MigrationReport,
    MigrationRequest,
    Mode,
    RunState,
    WarmRules,
)
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import RUN_TAG
from crossport.testing.run import DirectRun, Killed
from crossport.testing.world import ALPHA, web_vm

__all__ = ["Schedule"]

EXECUTIONS = 40
SIZE = 64 << 10
CONTENT = "boot and data of "
ISOLATED = "memory-isolated"


@dataclasses.dataclass
class Ending:
    """How one run ended: with a report, or with an error that a person has to look at."""

    request: MigrationRequest
    report: MigrationReport | None = None
    error: errors.Error | None = None

    @property
    def committed(self) -> bool:
        return bool(self.report and self.report.outcome is RunState.DONE and not self.request.test)


class Schedule:
    """Everything that happens under one seed."""

    def __init__(self, seed: int, root: Path) -> None:
        self.fate = self._fate(seed)
        self.root = root
        self.endings: dict[str, Ending] = {}
        self.sleepers: list[asyncio.Task[MigrationReport]] = []
        self.home: dict[str, VM] = {}
        self.was: dict[str, PowerState] = {}
        self.broken: list[str] = []
        """What was seen and must not be. It is kept, because a step would take an exception for its own."""
        self.world: World

    def _fate(self, seed: int) -> Fate:
        return Fate(seed)

    async def play(self) -> None:
        """Make the world, migrate, repair what a person would repair, and check how it ended."""
        await self._begin()
        self.fate.healed = False
        await asyncio.gather(*(self._migrate(run, request) for run, request in self._requests().items()))
        self.fate.healed = True
        await self._wake_all()
        for run, ending in self.endings.items():
            assert self.broken == []
            await self._settle(run, ending)
        await self._wrap_up()
        assert self.broken == []
        await self._check_end()

    async def _wrap_up(self) -> None:
        """Let come what is still to come when all is settled."""

    async def _begin(self) -> None:
        clouds = (UnsteadyCloud("alpha", self.root / "alpha"), UnsteadyCloud("beta", self.root / "beta"))
        for cloud, constructs in zip(clouds, (ALPHA, TWIN), strict=True):
            cloud.fate = self.fate
            cloud.found(constructs)
        draw = self.fate.random
        for name in ("web", "db")[: draw.choice((1, 1, 2))]:
            tags = draw.choice(({}, {}, {}, {"guest.health": "bad-elsewhere"}, {"guest.shutdown": "refuse"}))
            wanted = web_vm()
            disk = dataclasses.replace(wanted.disks[0], size=SIZE)
            wanted = dataclasses.replace(wanted, name=name, tags=tags, disks=(disk,))
            runs = draw.random() < 0.85
            self.was[name] = PowerState.RUNNING if runs else PowerState.STOPPED
            self.home[name] = await clouds[0].create_vm(act("create", name), wanted, CONTENT + name, runs)
        await self._connect(*clouds)
        self.world.mover.after = self._copied
        self.fate.watch = self._watch

    async def _connect(self, alpha: UnsteadyCloud, beta: UnsteadyCloud) -> None:
        """Make what migrates between both clouds."""
        self.world = make_world(alpha, beta, "run-0")

    def _parts(self, run: str) -> Parts:
        """Return what executes ``run``."""
        del run
        return self.world.parts

    async def _hold(self, run: str) -> Hold | None:
        """Return the source's end of ``run``."""
        return await Ends(self.world.documents).hold(run)

    def _tag(self, run: str) -> str:
        """Return the word by which the target's cloud knows ``run``."""
        return run

    async def _copied(self, ticket: Ticket) -> None:
        """The guests go on writing, and sometimes a bit flips."""
        for vm in await MemoryCloudView.vms(self.world.alpha):
            if vm.power is PowerState.RUNNING:
                with self.world.alpha.disk_path(vm.disks[0].id).open("r+b") as disk:
                    disk.seek(self.fate.random.randrange(100, SIZE - 100))
                    disk.write(self.fate.random.randbytes(50))
        await self._spoil(ticket)

    async def _spoil(self, ticket: Ticket) -> None:
        if self.fate.happens(0.03):
            self.fate.story.append(f"a bit flips in {ticket.artifact} of {ticket.run}")
            disk = Path(ticket.ref.locator)
            content = bytearray(disk.read_bytes())
            content[5] ^= 1
            disk.write_bytes(content)

    def _requests(self) -> dict[str, MigrationRequest]:
        """One run for each VM, and sometimes a second one for the same VM."""
        draw = self.fate.random
        wanted = [*self.home, *draw.choice(([], [], ["web"]))]
        return {
            f"run-{number}": self.world.request(
                **self._between(f"run-{number}"),
                vm=name,
                mode=draw.choice((Mode.COLD, Mode.COLD, Mode.SUSPEND, Mode.WARM, Mode.WARM)),
                warm=draw.choice((WarmRules(), WarmRules(cutover=Cutover.MANUAL, deadline_s=1000.0))),
                test=draw.random() < 0.15,
                commit=draw.choice((CommitRule.AUTO, CommitRule.AUTO, CommitRule.MANUAL)),
                power_off=draw.random() < 0.5,
            )
            for number, name in enumerate(wanted, 1)
        }

    def _between(self, run: str) -> dict[str, str]:
        """Return what each side is called in the request of ``run``."""
        del run
        return {"source": "alpha", "target": "beta"}

    async def _migrate(self, run: str, request: MigrationRequest) -> None:
        context = DirectRun(run, clock=self.world.clock)
        context.answer("commit", self.fate.random.choice(("commit", "commit", "rollback", None)))
        context.answer("cutover", self.fate.random.choice(("cutover", "cutover", None)))
        ending = self.endings[run] = Ending(request)
        for _ in range(EXECUTIONS):
            self.fate.arm(context)
            task = asyncio.ensure_future(migration_of(context, request, self._parts(run)).run())
            hung = asyncio.ensure_future(self.fate.hung[run].wait())
            await asyncio.wait((task, hung), return_when=asyncio.FIRST_COMPLETED)
            hung.cancel()
            if not task.done():
                self.sleepers.append(task)
                context = context.successor()
                continue
            try:
                ending.report = task.result()
            except Killed as death:
                self.fate.story.append(f"{run} dies: {death}")
                context = context.successor()
                continue
            except errors.Error as error:
                self.fate.story.append(f"{run} raises {error}")
                ending.error = error
            return
        raise AssertionError(f"{run} did not end in {EXECUTIONS} executions")

    async def _wake_all(self) -> None:
        for event in self.fate.hanging.values():
            event.set()
        await asyncio.gather(*self.sleepers, return_exceptions=True)

    # What a person would do.
    async def _settle(self, run: str, ending: Ending) -> None:
        """Resolve what needs attention, and clean by hand what could not be removed."""
        if ending.error is not None and not ending.request.test:
            await self._resolve(run, ending)
        for cloud in (ending.request.target, ending.request.source):
            late = Act(run=run, step="clean-by-hand", epoch=5_000)
            site = await self._parts(run).site(cloud)
            cleaned = await site.clean(late, cloud, keep_vm=ending.committed)
            assert cleaned.left == ()

    async def _resolve(self, run: str, ending: Ending) -> None:
        if isinstance(ending.error, errors.Blocked | errors.NotFound):
            return  # nothing was touched
        wanted = await self._resolution(run, ending.request)
        context = DirectRun(f"{run}-resolve", clock=self.world.clock)
        ending.report = await resolved(context, wanted, self._parts(run))
        self.fate.story.append(f"{run} resolved as {wanted.outcome}")

    async def _resolution(self, run: str, request: MigrationRequest) -> Resolution:
        hold = await self._hold(run)
        target = next((one.id for one in await self._entries(run) if one.kind == "vm" and one.id), "")
        forward = hold is not None and hold.state is SourceState.COMMITTED
        return Resolution(
            run=run,
            request=request,
            source_id=self.home[request.vm].id,
            target_id=target,
            outcome=ResolveAs.TARGET if forward else ResolveAs.SOURCE,
            committed=forward,
            verified=(await Ends(self.world.documents).landing(run)).verified,
        )

    async def _entries(self, run: str) -> tuple[Any, ...]:
        return await self.world.context.ledger.entries(run)

    # What must hold.
    async def _watch(self) -> None:
        """Never both running, and never both lost: checked after every call to a cloud."""
        world = self.world
        here = {vm.name: vm for vm in await MemoryCloudView.vms(world.alpha)}
        there = [vm for vm in await MemoryCloudView.vms(world.beta) if ISOLATED not in vm.tags]
        for name in self.home:
            copies = [vm for vm in there if vm.name == name and vm.power is PowerState.RUNNING]
            running = [here[name].power is PowerState.RUNNING, *(True for _ in copies)]
            self._must(sum(running) <= 1, f"{name} runs twice")
        for run, ending in self.endings.items():
            hold = await self._hold(run)
            if hold is not None and hold.state is SourceState.COMMITTED:
                copied = any(vm.name == ending.request.vm for vm in there)
                self._must(copied, f"{run}: committed and lost")

    def _must(self, holds: bool, what: str) -> None:
        if not holds and what not in self.broken:
            self.broken.append(what)
            self.fate.story.append(what.upper())

    async def _check_end(self) -> None:
        world = self.world
        moved = {one.request.vm: run for run, one in self.endings.items() if one.committed}
        there = {vm.name: vm for vm in await world.beta.vms()}
        assert set(there) == set(moved)
        for name, home in self.home.items():
            source = await world.alpha.vm(name)
            content = world.alpha.disk_path(home.disks[0].id).read_bytes()
            assert content.startswith((CONTENT + name).encode())
            if name in moved:
                assert source.power is not PowerState.RUNNING
                assert source.fenced
                copy = there[name]
                assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
                assert world.beta.disk_path(copy.disks[0].id).read_bytes() == content
            else:
                assert (source.power, source.fenced) == (self.was[name], False)
        await self._check_nothing_leaks(there)

    async def _check_nothing_leaks(self, there: dict[str, VM]) -> None:
        world = self.world
        kept = {disk.id for vm in there.values() for disk in vm.disks}
        assert {path.name for path in (self.root / "beta/disks").iterdir()} == kept
        own = {disk.id for vm in self.home.values() for disk in vm.disks}
        assert isinstance(world.alpha, UnsteadyCloud)
        assert world.alpha.things.every(tracking.KIND, object) == ()
        memories = {f"{vm.id}-memory" for vm in self.home.values()}
        assert {path.name for path in (self.root / "alpha/disks").iterdir()} - memories == own
        for run in self.endings:
            tagged = {thing.id for thing in await world.beta.tagged(self._tag(run))}
            assert tagged == {vm.id for vm in there.values() if vm.tags.get(RUN_TAG) == self._tag(run)}
            for entry in await self._entries(run):
                assert entry.state in {LedgerState.REMOVED, LedgerState.KEPT}, entry
        for name, home in self.home.items():
            assert await self._holder(home.id) == "", f"{name} is still reserved"

    async def _holder(self, vm: str) -> str:
        return await self.world.site.holder("alpha", vm)


class MemoryCloudView:
    """Looks into a cloud without the faults of its calls."""

    @staticmethod
    async def vms(cloud: Any) -> tuple[VM, ...]:
        found: tuple[VM, ...] = cloud._store.every("vms", VM)
        return found
