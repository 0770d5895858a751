"""A site in memory: every call of ``Control`` answered truthfully about clouds that are only data.

A VM's tag ``run`` decides how its migration ends: ``rolled-back``, ``attention`` or (without one) ``done``;
the tag ``blocked`` puts a blocker in its way. Each phase takes ``pace_s`` seconds. Nothing is durable.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from crossport import errors
from crossport.model.construct import Constructs
from crossport.model.finding import Finding, Severity
from crossport.model.plan import Plan, PlanCheck, PlanStatus, VmStatus
from crossport.model.request import (
    Assessment,
    CloudEntry,
    CloudStatus,
    DryRun,
    Evidence,
    ResolveAs,
    Verdict,
    VmAssessment,
    VmRequest,
)
from crossport.model.run import (
    Created,
    Event,
    LedgerState,
    MigrationReport,
    MigrationRequest,
    RunRecord,
    RunState,
)
from crossport.model.vm import VM, Disk, Nic, PowerState
from crossport.spi.clock import Clock
from crossport.spi.site import Cleaned
from crossport.testing.control_run import ESTIMATE, MemoryRun, mapping_of, need_deletable, sample_constructs
from crossport.units import GIB, MIB

__all__ = ["MemoryControl", "sample_vm"]

T = TypeVar("T")
LABELS = ("source", "target", "mode")


def sample_vm(name: str, *, id: str = "", **tags: str) -> VM:  # noqa: A002 - the model's own word
    """Return a small running VM called ``name``."""
    return VM(
        id=id or f"vm-{name}",
        name=name,
        project="shop",
        zone="z1",
        flavor="small",
        cpus=1,
        memory=256 * MIB,
        power=PowerState.RUNNING,
        disks=(Disk(id=f"vol-{name}", name="root", size=GIB, boot=True, allocated=120 * MIB),),
        nics=(Nic(mac="52:54:00:00:00:01", network="lan", addresses=("10.0.0.5/24",)),),
        keys=("ops",),
        tags=tags,
    )


@dataclass
class _Tenant:
    clouds: dict[str, CloudEntry] = field(default_factory=dict[str, CloudEntry])
    vms: dict[str, dict[str, VM]] = field(default_factory=dict[str, dict[str, VM]])
    runs: dict[str, MemoryRun] = field(default_factory=dict[str, MemoryRun])
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    plan_runs: dict[str, str] = field(default_factory=dict[str, str])
    keys: dict[str, tuple[object, object]] = field(default_factory=dict[str, tuple[object, object]])


class MemoryControl:
    """Implements ``spi.control.Control``. Await ``close`` so that no run outlives the test."""

    def __init__(self, clock: Clock, *, pace_s: float = 0.0) -> None:
        self._clock = clock
        self._pace_s = pace_s
        self._tenants: dict[str, _Tenant] = {}
        self._count = 0

    async def close(self) -> None:
        """End all runs at once."""
        for tenant in self._tenants.values():
            for run in tenant.runs.values():
                if run.task:
                    run.task.cancel()
                    await asyncio.gather(run.task, return_exceptions=True)

    def put_vm(self, tenant: str, cloud: str, vm: VM) -> None:
        """Let ``cloud`` have ``vm``."""
        self._of(tenant).vms.setdefault(cloud, {})[vm.id] = vm

    async def active(self) -> bool:
        """Say whether a run is under way in any tenant."""
        return any(
            not run.record.state.final for tenant in self._tenants.values() for run in tenant.runs.values()
        )

    # Clouds

    async def add_cloud(self, tenant: str, entry: CloudEntry) -> CloudStatus:
        mine = self._of(tenant)
        if mine.clouds.get(entry.name, entry) != entry:
            raise errors.Conflict(
                "cloud.name.taken",
                f"A cloud called {entry.name} exists.",
                field="name",
                remedy="Choose another name, or remove that cloud first.",
            )
        mine.clouds[entry.name] = entry
        for name in filter(None, entry.settings.get("vms", "").split(",")):
            self.put_vm(tenant, entry.name, sample_vm(name))
        return self._status(entry)

    async def clouds(self, tenant: str) -> tuple[CloudEntry, ...]:
        clouds = self._of(tenant).clouds
        return tuple(clouds[name] for name in sorted(clouds))

    async def check_cloud(self, tenant: str, name: str) -> CloudStatus:
        return self._status(self._cloud(tenant, name))

    async def remove_cloud(self, tenant: str, name: str) -> None:
        self._cloud(tenant, name)
        mine = self._of(tenant)
        for run in mine.runs.values():
            ends = (run.request.source, run.request.target) if run.request else ()
            if name in ends and not run.record.state.final:
                raise errors.Conflict(
                    "cloud.in-use",
                    f"Run {run.record.id} uses cloud {name}.",
                    field="cloud",
                    remedy="Wait for the run, or cancel it.",
                )
        del mine.clouds[name]
        mine.vms.pop(name, None)

    async def constructs(self, tenant: str, cloud: str) -> Constructs:
        self._cloud(tenant, cloud)
        return sample_constructs(cloud)

    # VMs

    async def vms(self, tenant: str, cloud: str) -> tuple[VM, ...]:
        self._cloud(tenant, cloud)
        vms = self._of(tenant).vms.get(cloud, {})
        return tuple(sorted(vms.values(), key=lambda vm: vm.name))

    async def vm(self, tenant: str, cloud: str, vm: str) -> VM:
        for one in await self.vms(tenant, cloud):
            if vm in (one.id, one.name):
                return one
        raise errors.NotFound(
            "vm.unknown",
            f"Cloud {cloud} has no VM {vm}.",
            field="vm",
            remedy=f"See `crossport vm list {cloud}`.",
        )

    async def create_vm(self, tenant: str, cloud: str, request: VmRequest, key: str) -> VM:
        self._cloud(tenant, cloud)

        async def make() -> VM:
            vm = replace(sample_vm(request.name, id=f"vm-{self._next()}"), flavor=request.flavor)
            self.put_vm(tenant, cloud, vm)
            return vm

        return await self._once(tenant, key, (cloud, request), make)

    async def start_vm(self, tenant: str, cloud: str, vm: str) -> VM:
        found = await self.vm(tenant, cloud, vm)
        if found.fenced:
            raise errors.Refused(
                "vm.fenced",
                f"VM {found.name} is fenced: it was migrated.",
                remedy="Use the copy at the target.",
            )
        return self._power(tenant, cloud, found, PowerState.RUNNING)

    async def stop_vm(self, tenant: str, cloud: str, vm: str, *, shutdown_s: float, power_off: bool) -> VM:
        return self._power(tenant, cloud, await self.vm(tenant, cloud, vm), PowerState.STOPPED)

    async def delete_vm(
        self, tenant: str, cloud: str, vm: str, *, confirmed: bool, force_off: bool
    ) -> tuple[str, ...]:
        found = await self.vm(tenant, cloud, vm)
        need_deletable(found, force_off=force_off)
        if confirmed:
            del self._of(tenant).vms[cloud][found.id]
        return (f"VM {found.name}", *(f"volume {disk.id}" for disk in found.disks))

    async def console(self, tenant: str, cloud: str, vm: str) -> str:
        found = await self.vm(tenant, cloud, vm)
        return f"[    0.000000] Linux version 6.1\n{found.name} login: \n"

    # Migration

    async def assess(self, tenant: str, source: str, target: str = "") -> Assessment:
        if target:
            self._cloud(tenant, target)
        judged = [self._judged(vm) for vm in await self.vms(tenant, source)]
        return Assessment(cloud=source, target=target, made=self._clock.wall(), vms=tuple(judged))

    async def dry_run(self, tenant: str, request: MigrationRequest) -> DryRun:
        self._cloud(tenant, request.target)
        judged = self._judged(await self.vm(tenant, request.source, request.vm))
        return DryRun(
            vm=judged.vm,
            source=request.source,
            target=request.target,
            findings=judged.findings,
            mapping=mapping_of(request),
            estimate=judged.estimate,
            verdict=judged.verdict,
        )

    async def migrate(self, tenant: str, request: MigrationRequest, key: str) -> RunRecord:
        async def begin() -> RunRecord:
            dry = await self.dry_run(tenant, request)
            if dry.verdict is not Verdict.GO:
                told = "; ".join(f"{each.code}: {each.text}" for each in dry.findings)
                raise errors.Blocked(
                    "migration.blocked", told, field="vm", remedy="See the findings by `--dry-run`."
                )
            kind = "test" if request.test else "migrate"
            run = self._begin(tenant, kind, request.vm, request)
            run.task = asyncio.create_task(self._execute(tenant, run, request))
            return run.record

        first = await self._once(tenant, key, ("migrate", request), begin)
        return self._run(tenant, first.id).record

    # Runs

    async def runs(
        self, tenant: str, *, state: RunState | None, kind: str, after: str, limit: int, vm: str = ""
    ) -> tuple[RunRecord, ...]:
        records = [run.record for run in reversed(self._of(tenant).runs.values())]
        if after:
            self._run(tenant, after)
            records = records[[record.id for record in records].index(after) + 1 :]
        chosen = [one for one in records if state in (None, one.state) and kind in ("", one.kind)]
        if vm:
            chosen = [one for one in chosen if one.subject == vm and one.kind != "plan"]
        return tuple(chosen[:limit])

    async def run(self, tenant: str, run: str) -> RunRecord:
        return self._run(tenant, run).record

    async def events(self, tenant: str, run: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        async for event in self._run(tenant, run).told(after=after, follow=follow):
            yield event

    async def report(self, tenant: str, run: str) -> MigrationReport:
        mine = self._run(tenant, run)
        if not mine.record.state.final or mine.request is None:
            raise errors.Conflict(
                "run.unfinished",
                f"Run {run} is {mine.record.state}.",
                remedy=f"Wait for it: `crossport run watch {run}`.",
            )
        return mine.report(mine.request)

    async def cancel(self, tenant: str, run: str) -> RunRecord:
        mine = self._run(tenant, run)
        if mine.record.state is RunState.DONE:
            raise errors.Conflict(
                "run.committed", f"Run {run} is past its commit.", remedy="Migrate it back."
            )
        await mine.ask(cancel=True)
        return mine.record

    async def resume(self, tenant: str, run: str) -> RunRecord:
        mine = self._run(tenant, run)
        self._needs(mine, RunState.ATTENTION)
        await mine.turn(RunState.DONE, "resumed")
        return mine.record

    async def decide(self, tenant: str, run: str, *, commit: bool) -> RunRecord:
        return await self._run(tenant, run).decide(commit=commit)

    async def cut_over(self, tenant: str, run: str) -> RunRecord:
        return await self._run(tenant, run).cut_over()

    async def evidence(self, tenant: str, run: str) -> Evidence:
        mine = self._run(tenant, run)
        return Evidence(
            run=mine.record,
            statements=("source: stopped and fenced",),
            ledger=await self.ledger(tenant, run),
            source_vm=sample_vm(mine.record.subject),
            target_vm=None,
            advice="The target never started: resolve as source.",
        )

    async def resolve(self, tenant: str, run: str, outcome: ResolveAs) -> RunRecord:
        mine = self._run(tenant, run)
        self._needs(mine, RunState.ATTENTION)
        ends = {ResolveAs.SOURCE: RunState.ROLLED_BACK, ResolveAs.TARGET: RunState.DONE}
        await mine.turn(ends.get(outcome, RunState.CANCELLED), f"resolved as {outcome}")
        return mine.record

    async def ledger(self, tenant: str, run: str) -> tuple[Created, ...]:
        mine = self._run(tenant, run)
        cloud = mine.request.target if mine.request else ""
        return (
            Created(
                run=run, cloud=cloud, kind="volume", name=f"{run}-disk-0", id="v1", state=LedgerState.KEPT
            ),
        )

    async def clean(self, tenant: str, run: str) -> Cleaned:
        mine = self._run(tenant, run)
        if not mine.record.state.final:
            raise errors.Conflict("run.unfinished", f"Run {run} is not final.", remedy="Cancel it first.")
        return Cleaned(removed=(f"volume {run}-disk-0",))

    async def finish_test(self, tenant: str, run: str) -> Cleaned:
        if self._run(tenant, run).record.kind != "test":
            raise errors.Conflict("run.no-test", f"Run {run} is no test migration.", remedy="Nothing to do.")
        return await self.clean(tenant, run)

    async def retire(self, tenant: str, run: str, *, confirmed: bool) -> tuple[str, ...]:
        mine = self._run(tenant, run)
        self._needs(mine, RunState.DONE)
        if mine.retired:
            return ()
        mine.retired = confirmed
        return (f"VM {mine.record.subject}", f"volume {mine.record.subject}-root (1 GiB)")

    # Plans

    async def put_plan(self, tenant: str, plan: Plan) -> Plan:
        self._refuse_while_it_runs(tenant, plan.name)
        self._of(tenant).plans[plan.name] = plan
        return plan

    async def remove_plan(self, tenant: str, name: str) -> None:
        self._plan(tenant, name)
        self._refuse_while_it_runs(tenant, name)
        del self._of(tenant).plans[name]

    def _refuse_while_it_runs(self, tenant: str, plan: str) -> None:
        mine = self._of(tenant)
        run = mine.runs.get(mine.plan_runs.get(plan, ""))
        if run and not run.record.state.final:
            raise errors.Conflict("plan.running", f"Plan {plan} runs.", field="plan", remedy="Wait for it.")

    async def plans(self, tenant: str) -> tuple[Plan, ...]:
        plans = self._of(tenant).plans
        return tuple(plans[name] for name in sorted(plans))

    async def check_plan(self, tenant: str, name: str) -> PlanCheck:
        plan = self._plan(tenant, name)
        known = {vm.name: vm for vm in await self.vms(tenant, plan.source)}
        found = {one.vm: self._findings(known.get(one.vm)) for one in plan.vms}
        waves = sorted({one.wave for one in plan.vms})
        return PlanCheck(
            plan=name,
            findings=found,
            estimates={one.vm: ESTIMATE for one in plan.vms},
            waves=tuple(tuple(one.vm for one in plan.vms if one.wave == wave) for wave in waves),
        )

    async def run_plan(self, tenant: str, name: str, key: str) -> RunRecord:
        plan = self._plan(tenant, name)

        async def begin() -> RunRecord:
            run = self._begin(tenant, "plan", name, None)
            self._of(tenant).plan_runs[name] = run.record.id
            await run.turn(RunState.DONE, "all VMs moved")
            return run.record

        return await self._once(tenant, key, ("plan", plan), begin)

    async def plan_status(self, tenant: str, name: str) -> PlanStatus:
        plan = self._plan(tenant, name)
        run = self._of(tenant).runs.get(self._of(tenant).plan_runs.get(name, ""))
        state = run.record.state if run else RunState.QUEUED
        vms = tuple(VmStatus(vm=one.vm, wave=one.wave, state=state) for one in plan.vms)
        return PlanStatus(plan=plan, run=run.record.id if run else "", state=state, vms=vms)

    # Private

    def _of(self, tenant: str) -> _Tenant:
        return self._tenants.setdefault(tenant, _Tenant())

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _cloud(self, tenant: str, name: str) -> CloudEntry:
        try:
            return self._of(tenant).clouds[name]
        except KeyError:
            raise _unknown("cloud", name) from None

    def _run(self, tenant: str, run: str) -> MemoryRun:
        try:
            return self._of(tenant).runs[run]
        except KeyError:
            raise _unknown("run", run) from None

    def _plan(self, tenant: str, name: str) -> Plan:
        try:
            return self._of(tenant).plans[name]
        except KeyError:
            raise _unknown("plan", name) from None

    def _status(self, entry: CloudEntry) -> CloudStatus:
        return CloudStatus(entry=entry, good=True, text="answers", abilities=("Exporter", "Importer"))

    def _needs(self, run: MemoryRun, state: RunState) -> None:
        if run.record.state is not state:
            raise errors.Conflict(
                "run.other-state",
                f"Run {run.record.id} is {run.record.state}, not {state}.",
                remedy="See `crossport run show`.",
            )

    def _power(self, tenant: str, cloud: str, vm: VM, power: PowerState) -> VM:
        changed = replace(vm, power=power)
        self.put_vm(tenant, cloud, changed)
        return changed

    def _findings(self, vm: VM | None) -> tuple[Finding, ...]:
        if vm is None:
            return (
                Finding("vm.unknown", Severity.BLOCKER, "vm", "The source has no such VM.", "Correct it."),
            )
        if "blocked" in vm.tags:
            return (
                Finding(
                    "vm.disk.backing",
                    Severity.BLOCKER,
                    "disk root",
                    "The disk is a chain of files.",
                    "Flatten the disk.",
                ),
            )
        return ()

    def _judged(self, vm: VM) -> VmAssessment:
        findings = self._findings(vm)
        verdict = Verdict.REFUSE if findings else Verdict.GO
        return VmAssessment(vm=vm, verdict=verdict, findings=findings, estimate=ESTIMATE)

    async def _once(self, tenant: str, key: str, request: object, make: Callable[[], Awaitable[T]]) -> T:
        """Return what ``make`` made when ``key`` was used first."""
        known = self._of(tenant).keys
        if key in known:
            asked, made = known[key]
            if asked != request:
                raise errors.Conflict(
                    "request.key.reused",
                    "This idempotency key belongs to another request.",
                    field="Idempotency-Key",
                    remedy="Use a new key for a new request.",
                )
            return cast("T", made)
        made = await make()
        known[key] = (request, made)
        return made

    def _begin(self, tenant: str, kind: str, subject: str, request: MigrationRequest | None) -> MemoryRun:
        now = self._clock.wall()
        record = RunRecord(
            id=f"run-{self._next():04d}",
            kind=kind,
            tenant=tenant,
            state=RunState.QUEUED,
            subject=subject,
            created=now,
            started=now,
            epoch=1,
            node="memory",
            labels={name: str(getattr(request, name)) for name in LABELS if request},
        )
        run = self._of(tenant).runs[record.id] = MemoryRun(record, request, self._clock, self._pace_s)
        return run

    async def _execute(self, tenant: str, run: MemoryRun, request: MigrationRequest) -> None:
        """Play the run; then the VM is at the target, and fenced at the source."""
        vm = await self.vm(tenant, request.source, request.vm)
        state = await run.play(RunState(vm.tags.get("run", "done")))
        if state is RunState.DONE and not request.test:
            self.put_vm(tenant, request.source, replace(vm, power=PowerState.STOPPED, fenced=True))
            self.put_vm(tenant, request.target, replace(vm, id=f"{vm.id}-moved"))


def _unknown(kind: str, name: str) -> errors.NotFound:
    text, remedy = f"There is no {kind} {name}.", f"See `crossport {kind} list`."
    return errors.NotFound(f"{kind}.unknown", text, field=kind, remedy=remedy)
