"""The runs of the site in memory: eight phases are told, then it ends as it was asked to end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from crossport import errors
from crossport.model.artifact import Counters, Moved, Progress
from crossport.model.construct import Constructs, Flavor, KeyPair, Network, Quota, SecurityGroup
from crossport.model.finding import Finding, Severity
from crossport.model.health import Health, ProbeResult
from crossport.model.mapping import Choice, Construct, Mapping
from crossport.model.run import (
    PHASES,
    CommitRule,
    Cutover,
    Estimate,
    Event,
    EventKind,
    MigrationReport,
    MigrationRequest,
    Mode,
    Phase,
    RunRecord,
    RunState,
)
from crossport.model.vm import VM, PowerState
from crossport.spi.clock import Clock
from crossport.units import GIB, MIB

__all__ = ["ESTIMATE", "MemoryRun", "mapping_of", "need_deletable", "sample_constructs"]

ESTIMATE = Estimate(seconds=12.0, outage_s=9.0, size=120 * MIB, basis="a fixed figure of the fake")


class MemoryRun:
    """One run. ``request`` is None for the run of a plan."""

    def __init__(
        self, record: RunRecord, request: MigrationRequest | None, clock: Clock, pace_s: float
    ) -> None:
        self.record = record
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.retired = False
        self._clock = clock
        self._pace_s = pace_s
        self._events: list[Event] = []
        self._phases: list[Phase] = []
        self._changed = asyncio.Condition()
        self._cancelled = False
        self._decision: bool | None = None
        self._ordered = False

    async def play(self, end: RunState) -> RunState:
        """Tell the eight phases and end as ``end``, unless somebody cancels or rolls back."""
        await self.turn(RunState.RUNNING, "")
        for name in PHASES:
            if self._cancelled:
                break
            await self._phase(name)
            if name == "image_upload":
                await self._cutover_ordered()
        commit = await self._decided()
        if self._cancelled:
            await self.turn(RunState.CANCELLED, "cancelled; the source is as it was")
        elif not commit:
            await self.turn(RunState.ROLLED_BACK, "rolled back as asked")
        else:
            await self.turn(end, "" if end is RunState.DONE else "the guest did not answer")
        return self.record.state

    async def turn(self, state: RunState, text: str) -> None:
        """Bring the run into ``state`` and tell it."""
        ended = self._clock.wall() if state.final else 0.0
        attention = text if state is RunState.ATTENTION else ""
        self.record = replace(self.record, state=state, ended=ended, attention=attention)
        await self._tell(Event(kind=EventKind.STATE, text=text, state=state))

    async def ask(self, *, cancel: bool = False, decision: bool | None = None) -> None:
        """Let the run know what a person wants."""
        async with self._changed:
            self._cancelled = self._cancelled or cancel
            self._decision = decision if decision is not None else self._decision
            self._changed.notify_all()

    async def decide(self, *, commit: bool) -> RunRecord:
        """Commit or roll back; Conflict when nobody is asked."""
        if self.record.state is not RunState.WAITING:
            text, remedy = f"Run {self.record.id} is {self.record.state}.", "Only a waiting run is decided."
            raise errors.Conflict("run.not-waiting", text, remedy=remedy)
        await self.ask(decision=commit)
        return self.record

    async def cut_over(self) -> RunRecord:
        """Go over, if this is a warm migration; Conflict otherwise."""
        if self.request is None or self.request.mode is not Mode.WARM or self.request.test:
            text = f"Run {self.record.id} follows no running VM."
            raise errors.Conflict("run.not-warm", text, remedy="Only --mode warm has a cutover.")
        async with self._changed:
            self._ordered = True
            self._changed.notify_all()
        return self.record

    async def told(self, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Yield the events behind number ``after``; with ``follow`` until the run is final."""
        number = after
        while True:
            async with self._changed:
                while follow and number >= len(self._events) and not self.record.state.final:
                    await self._changed.wait()
                batch = self._events[number:]
                final = self.record.state.final
            for event in batch:
                number = event.number
                yield event
            if not follow or (final and number >= len(self._events)):
                return

    def report(self, request: MigrationRequest) -> MigrationReport:
        """Return the report of a run that is final."""
        done = self.record.state is RunState.DONE
        size = 120 * MIB
        moved = Moved(
            artifact="disk-0",
            size=GIB,
            chunk_size=256 * 1024,
            root="0" * 64,
            counters=Counters(read=size, sent=size // 2, written=size, zero=GIB - size, compressed=size),
            seconds=2.0,
        )
        probes = tuple(
            ProbeResult(probe=probe, good=done, text="answered") for probe in request.checks.probes
        )
        return MigrationReport(
            run=self.record.id,
            request=request,
            outcome=self.record.state,
            phases=tuple(self._phases),
            total_seconds=self.record.ended - self.record.started,
            moved=(moved,),
            outage_s=3.2 if done else None,
            findings=(Finding("nic.mac.kept", Severity.INFO, "nic 0", "The MAC address is kept."),),
            mapping=mapping_of(request),
            estimate=ESTIMATE,
            health=Health(good=done, results=probes, seconds=1.5),
            verified="at rest",
            source_id=f"vm-{request.vm}",
            vm_id=f"vm-{request.vm}-moved" if done else "",
            text="" if done else (self._events[-1].text if self._events else ""),
        )

    async def _tell(self, event: Event) -> None:
        numbered = replace(event, number=len(self._events) + 1, time=self._clock.wall())
        async with self._changed:
            self._events.append(numbered)
            self._changed.notify_all()

    async def _phase(self, name: str) -> None:
        phase = Phase(name=name, started=self._clock.wall(), seconds=0.0)
        await self._tell(Event(kind=EventKind.PHASE_STARTED, phase=phase))
        begun = self._clock.monotonic()
        if name == "image_upload":
            for done in (0, 48 * MIB, 120 * MIB):
                progress = Progress(
                    artifact="disk-0",
                    size=120 * MIB,
                    done=done,
                    counters=Counters(sent=done),
                    rate_bps=8e8,
                    seconds_left=1.0,
                )
                await self._tell(Event(kind=EventKind.PROGRESS, progress=progress))
                await self._clock.sleep(self._pace_s / 3)
        else:
            await self._clock.sleep(self._pace_s)
        phase = replace(phase, seconds=self._clock.monotonic() - begun)
        self._phases.append(phase)
        await self._tell(Event(kind=EventKind.PHASE_FINISHED, phase=phase))

    async def _cutover_ordered(self) -> None:
        """Wait for a person to order the cutover, when the request wants it."""
        if self.request is None or self.request.mode is not Mode.WARM or self._ordered:
            return
        if self.request.warm.cutover is Cutover.MANUAL and not self.request.test:
            await self.turn(RunState.WAITING, "follows the guest until somebody orders the cutover")
            async with self._changed:
                while not self._ordered and not self._cancelled:
                    await self._changed.wait()
            await self.turn(RunState.RUNNING, "")

    async def _decided(self) -> bool:
        """Return whether to commit, asking when the request wants it."""
        if self.request is None or self.request.commit is CommitRule.AUTO or self._cancelled:
            return True
        await self.turn(RunState.WAITING, "healthy at the target; commit or roll back")
        async with self._changed:
            while self._decision is None and not self._cancelled:
                await self._changed.wait()
        return bool(self._decision)


def mapping_of(request: MigrationRequest) -> Mapping:
    """Return a mapping that follows what the request decided."""
    given = bool(request.rules.flavor)
    return Mapping(
        (
            Choice(
                construct=Construct.FLAVOR,
                source="small",
                target=request.rules.flavor or "small",
                given=given,
            ),
            Choice(
                construct=Construct.NETWORK,
                source="lan",
                target=request.rules.networks.get("lan", "lan"),
                given="lan" in request.rules.networks,
                reason="same name",
                differences=("address 10.0.0.5 becomes 10.1.0.5",),
            ),
        )
    )


def sample_constructs(cloud: str) -> Constructs:
    """Return what a VM can be mapped to in any cloud of this site."""
    return Constructs(
        cloud=cloud,
        project="shop",
        zones=("z1",),
        flavors=(Flavor(name="small", cpus=1, memory=256 * MIB),),
        networks=(Network(name="lan", cidr="10.0.0.0/24"),),
        security_groups=(SecurityGroup(name="default"),),
        keys=(KeyPair(name="ops", public_key="ssh-ed25519 AAAA ops", fingerprint="SHA256:fake"),),
        storage_classes=("standard",),
        free=Quota(vms=10, cpus=20, memory=32 * GIB, disk=200 * GIB),
        disk_free=100 * GIB,
    )


def need_deletable(vm: VM, *, force_off: bool) -> None:
    """Refuse a kept source, and a VM that is not off unless its power may be taken."""
    if vm.fenced:
        raise errors.Refused(
            "vm.delete.kept",
            f"{vm.name} is fenced.",
            field="vm",
            remedy="Retire it with: crossport source retire RUN",
        )
    if vm.power is not PowerState.STOPPED and not force_off:
        raise errors.Conflict(
            "vm.delete.running",
            f"{vm.name} is {vm.power}.",
            field="vm",
            remedy="Stop it first, or take its power away with --force-off.",
        )
