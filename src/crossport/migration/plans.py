"""The plans of each tenant: kept, checked, started, and told how far they are."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field

import structlog

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.finding import standing
from crossport.migration.outcome import blocked
from crossport.migration.plan import (
    PlanMeans,
    PlanReport,
    PlanRun,
    checked,
    child,
    request_of,
    vm_states,
    waves,
)
from crossport.model.finding import Finding, Severity
from crossport.model.plan import Plan, PlanCheck, PlannedVM, PlanStatus
from crossport.model.record import record
from crossport.model.request import DryRun
from crossport.model.run import Estimate, MigrationRequest, RunRecord, RunState
from crossport.spi.clock import Clock
from crossport.spi.run import RunContext

__all__ = ["MIGRATE", "PLAN", "Plans", "labels"]

MIGRATE, PLAN = "migrate", "plan"
EARLIER = 100
"""How many runs of a plan are looked at for VMs that moved already."""
NOTHING = Estimate(seconds=0.0, outage_s=0.0, size=0)

log = structlog.get_logger("crossport.migration")


@record()
class _PlanRequest:
    plan: Plan
    tenant: str
    moved: Mapping[str, str] = field(default_factory=dict[str, str])


@record()
class _Judged:
    """What a dry run of every VM of a plan found; ``moved`` has the runs that moved VMs already."""

    findings: Mapping[str, tuple[Finding, ...]]
    estimates: Mapping[str, Estimate]
    moved: Mapping[str, str]


def labels(request: MigrationRequest, found: DryRun | None = None) -> dict[str, str]:
    """Return what a migration's run is found by, with what ``found`` tells of the projects at its ends."""
    known = {"source_project": found.vm.project, "target_project": found.target_project} if found else {}
    return {
        **known,
        "source": request.source,
        "target": request.target,
        "mode": request.mode.value,
        "test": "yes" if request.test else "no",
    }


def _moved(vm: str, run: str) -> Finding:
    return Finding(
        "plan.vm.moved",
        Severity.INFO,
        f"vm {vm}",
        f"{vm} was moved by run {run} of this plan, and stays as it is.",
    )


class Plans:
    """Plans over an engine that is not open yet. ``dry_run`` judges one migration of a tenant."""

    def __init__(
        self, engine: Engine, clock: Clock, dry_run: Callable[[str, MigrationRequest], Awaitable[DryRun]]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._dry_run = dry_run
        engine.register(PLAN, self._run, request=_PlanRequest, report=PlanReport)

    async def _run(self, context: RunContext, request: _PlanRequest) -> PlanReport:
        tenant = request.tenant

        async def submit(one: PlannedVM, migration: MigrationRequest, run: str) -> None:
            await self._engine.submit(
                MIGRATE, migration, run_id=run, tenant=tenant, subject=one.vm, labels=labels(migration)
            )

        means = PlanMeans(submit=submit, look=self._find, cancel=self._cancel, clock=self._clock)
        return await PlanRun(request.plan, tenant, means, request.moved).run(context)

    async def _cancel(self, run: str, why: errors.Cancelled | None) -> None:
        try:
            await self._engine.cancel(run, why)
        except errors.Conflict as error:  # it ended meanwhile, or it is past its commit and will end
            log.info("plan.vm.not_cancelled", run=run, code=error.code)

    async def _find(self, run: str) -> RunRecord | None:
        try:
            return await self._engine.runs.fetch(run)
        except errors.NotFound:
            return None

    async def put(self, tenant: str, plan: Plan) -> Plan:
        """Keep a plan."""
        await self._refuse_while_it_runs(tenant, plan.name)
        await self._engine.documents.put("plan", f"{tenant}/{plan.name}", checked(plan))
        return plan

    async def remove(self, tenant: str, name: str) -> None:
        """Forget a plan; its runs stay."""
        await self._kept(tenant, name)
        await self._refuse_while_it_runs(tenant, name)
        await self._engine.documents.delete("plan", f"{tenant}/{name}")

    async def _refuse_while_it_runs(self, tenant: str, name: str) -> None:
        last = await self._last_run(tenant, name)
        if last is not None and not last.state.final:
            raise errors.Conflict(
                "plan.running",
                f"The plan {name} runs, as run {last.id}.",
                field="plan",
                remedy=f"Wait, or stop it with all its VMs: crossport run cancel {last.id}",
            )

    async def every(self, tenant: str) -> tuple[Plan, ...]:
        """Return all plans."""
        documents = await self._engine.documents.list("plan", Plan, prefix=f"{tenant}/")
        return tuple(document.value for document in documents)

    async def _kept(self, tenant: str, name: str) -> Plan:
        try:
            return (await self._engine.documents.fetch("plan", f"{tenant}/{name}", Plan)).value
        except errors.NotFound:
            raise errors.NotFound(
                "plan.unknown",
                f"There is no plan {name}.",
                field="plan",
                remedy="List them with: crossport plan list",
            ) from None

    async def check(self, tenant: str, name: str) -> PlanCheck:
        """Dry-run every VM of the plan."""
        plan = await self._kept(tenant, name)
        judged = await self._judged(tenant, plan)
        return PlanCheck(plan=name, findings=judged.findings, estimates=judged.estimates, waves=waves(plan))

    async def _judged(self, tenant: str, plan: Plan) -> _Judged:
        earlier = await self._earlier(tenant, plan)
        findings: dict[str, tuple[Finding, ...]] = {}
        estimates: dict[str, Estimate] = {}
        moved: dict[str, str] = {}
        for one in plan.vms:
            run = earlier.get(one.vm, "")
            try:
                result = await self._dry_run(tenant, request_of(plan, one, tenant))
            except errors.NotFound as error:
                if not run or error.code != "vm.unknown":
                    raise
                result = None  # its source is retired
            if run and (result is None or any(found.code == "vm.fenced" for found in result.findings)):
                moved[one.vm] = run
                findings[one.vm], estimates[one.vm] = (_moved(one.vm, run),), NOTHING
            elif result is not None:
                findings[one.vm], estimates[one.vm] = result.findings, result.estimate
        return _Judged(findings=findings, estimates=estimates, moved=moved)

    async def _earlier(self, tenant: str, plan: Plan) -> dict[str, str]:
        """Return the runs with which earlier runs of the plan moved VMs between its clouds."""
        which = RunFilter(tenant=tenant, kind=PLAN, subject=plan.name)
        found: dict[str, str] = {}
        for run in (await self._engine.runs.list(which, limit=EARLIER)).runs:
            for one in plan.vms:
                past = await self._find(child(run.id, one)) if one.vm not in found else None
                ends = (past.labels.get("source"), past.labels.get("target")) if past else ()
                if past and past.state is RunState.DONE and ends == (plan.source, plan.target):
                    found[one.vm] = past.id
        return found

    async def start(self, tenant: str, name: str, run_id: str) -> RunRecord:
        """Start the plan when nothing stands in the way of any of its VMs that did not move yet."""
        known = await self._find(run_id)
        if known is not None and known.kind == PLAN and known.tenant == tenant and known.subject == name:
            return known
        plan = await self._kept(tenant, name)
        await self._refuse_while_it_runs(tenant, name)
        accepted = {one.vm: (*plan.accept, *one.accept) for one in plan.vms}
        judged = await self._judged(tenant, plan)
        stop = [one for vm, found in judged.findings.items() for one in standing(found, accepted[vm])]
        if stop:
            raise blocked(tuple(stop))
        await self._tested(tenant, plan)
        request = _PlanRequest(plan=plan, tenant=tenant, moved=judged.moved)
        return await self._engine.submit(PLAN, request, run_id=run_id, tenant=tenant, subject=name)

    async def _tested(self, tenant: str, plan: Plan) -> None:
        if not plan.require_test:
            return
        done = RunFilter(tenant=tenant, kind=MIGRATE, states=(RunState.DONE,))
        green = {
            run.subject
            for run in (await self._engine.runs.list(done, limit=1000)).runs
            if run.labels.get("test") == "yes" and run.labels.get("target") == plan.target
        }
        missing = [one.vm for one in plan.vms if one.vm not in green]
        if missing:
            raise errors.Blocked(
                "plan.test.missing",
                f"The plan requires a green test migration of {', '.join(missing)}.",
                field="require_test",
                remedy=f"crossport migrate {missing[0]} --from {plan.source} --to {plan.target} --test",
            )

    async def status(self, tenant: str, name: str) -> PlanStatus:
        """Say how far the plan is."""
        plan = await self._kept(tenant, name)
        found = await self._last_run(tenant, name)
        run = found.id if found else ""
        moved = (await self._engine.runs.request(run, _PlanRequest)).moved if run else dict[str, str]()
        records = {one.vm: await self._find(child(run, one)) if run else None for one in plan.vms}
        return PlanStatus(
            plan=plan,
            run=run,
            state=found.state if found else RunState.QUEUED,
            vms=vm_states(plan, run, records, moved),
        )

    async def _last_run(self, tenant: str, name: str) -> RunRecord | None:
        which = RunFilter(tenant=tenant, kind=PLAN, subject=name)
        found = (await self._engine.runs.list(which, limit=1)).runs
        return found[0] if found else None
