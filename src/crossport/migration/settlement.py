"""What is done about a migration when it has ended: look at both ends, resolve, clean up, retire the source.

Whatever is done here asks both ends first which of them is the VM, so that the last copy is never removed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.end import Ends, Hold, Landing
from crossport.migration.local_site import able
from crossport.migration.outcome import of_run
from crossport.migration.parts import Parts
from crossport.migration.permit import SourceState
from crossport.migration.resolve import Resolution, advice, allowed, resolved, said
from crossport.model.request import Evidence, ResolveAs
from crossport.model.run import Act, Created, MigrationReport, MigrationRequest, RunRecord, RunState
from crossport.model.vm import VM
from crossport.spi.cloud import Cloud, Inventory, Provisioner
from crossport.spi.run import RunContext
from crossport.spi.site import Cleaned, Site

__all__ = ["RESOLVE", "Settlement", "SettlementParts"]

RESOLVE = "resolve"
RESOLVES = "resolves"
"""The label by which the resolutions of a run are found."""
GOING_ON = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementParts:
    """What a settlement works with: the engine, a tenant's clouds, ends and workflow parts, fresh text."""

    engine: Engine
    cloud: Callable[[str, str], Awaitable[Cloud]]
    site: Callable[[str], Site]
    parts: Callable[[str], Parts]
    token: Callable[[], str]


class Settlement:
    """Implements a part of `crossport.spi.control.Control`. Make it before the engine is opened."""

    def __init__(self, means: SettlementParts) -> None:
        self._means = means
        self._engine = means.engine
        means.engine.register(RESOLVE, self._run, request=Resolution, report=MigrationReport)

    @property
    def _ends(self) -> Ends:
        return Ends(self._engine.documents)  # there once the engine is open

    async def _request(self, run: str) -> MigrationRequest:
        return await self._engine.runs.request(run, MigrationRequest)

    # Evidence
    async def evidence(self, tenant: str, found: RunRecord) -> Evidence:
        """Return all that both ends know about a run, and how they answer now."""
        request, run = await self._request(found.id), found.id
        hold, landing = await self._ends.hold(run), await self._ends.landing(run)
        ledger = await self._engine.ledger.entries(run)
        here, source_vm = await self._now(
            tenant, "source", request.source, hold.vm if hold and hold.vm else request.vm
        )
        there, target_vm = await self._now(tenant, "target", request.target, _copy_id(ledger))
        return Evidence(
            run=found,
            statements=(*said(hold, landing), *here, *there),
            ledger=ledger,
            source_vm=source_vm,
            target_vm=target_vm,
            advice=advice(hold, landing, copy=target_vm is not None),
        )

    async def _now(self, tenant: str, end: str, cloud: str, vm: str) -> tuple[tuple[str, ...], VM | None]:
        """Return the VM as its cloud shows it now, or in words why it does not."""
        if not vm:
            return (), None
        try:
            return (), await able(await self._means.cloud(tenant, cloud), Inventory).vm(vm)
        except errors.Error as error:
            return (f"{end} {cloud}: now {error.text}",), None

    # Resolution
    async def resolve(self, tenant: str, found: RunRecord, outcome: ResolveAs) -> RunRecord:
        """End a run that needs attention, or was abandoned, as a person says."""
        run = found.id
        await self.none_under_way(tenant, run)
        abandoned = found.state.final and not await self._ends.settled(run)
        if found.state is not RunState.ATTENTION and not abandoned:
            raise errors.Conflict(
                "run.settled",
                f"Run {run} is {found.state}; nothing is to be resolved.",
                **of_run(run),
            )
        hold, landing = await self._ends.hold(run), await self._ends.landing(run)
        wanted = await self._wanted(tenant, found, (hold, landing), outcome)
        allowed(wanted, hold)
        return await self._engine.submit(
            RESOLVE,
            wanted,
            run_id=f"{run}-{outcome}-{self._means.token()[:6]}",
            tenant=tenant,
            subject=found.subject,
            labels={RESOLVES: run},
        )

    async def _wanted(
        self, tenant: str, found: RunRecord, ends: tuple[Hold | None, Landing], outcome: ResolveAs
    ) -> Resolution:
        hold, landing = ends
        evidence, request = await self.evidence(tenant, found), await self._request(found.id)
        source_vm = evidence.source_vm.id if evidence.source_vm else request.vm
        return Resolution(
            run=found.id,
            request=request,
            source_id=hold.vm if hold and hold.vm else source_vm,
            target_id=_copy_id(evidence.ledger),
            seen=evidence.target_vm is not None,
            outcome=outcome,
            committed=hold is not None and hold.state is SourceState.COMMITTED,
            verified=landing.verified,
        )

    async def none_under_way(self, tenant: str, run: str) -> None:
        """Raise Conflict while the run is being resolved."""
        for other in await self._resolutions(tenant, run, GOING_ON):
            raise errors.Conflict(
                "run.resolving",
                f"Run {run} is being resolved by run {other.id}.",
                field="run",
                remedy=f"Wait for it: crossport run watch {other.id}",
            )

    async def _resolutions(
        self, tenant: str, run: str, states: tuple[RunState, ...]
    ) -> tuple[RunRecord, ...]:
        which = RunFilter(tenant=tenant, kind=RESOLVE, states=states)
        found = (await self._engine.runs.list(which, limit=1000)).runs
        return tuple(one for one in found if one.labels.get(RESOLVES) == run)

    async def _run(self, context: RunContext, wanted: Resolution) -> MigrationReport:
        """Execute a resolution. The engine calls this."""
        tenant = wanted.request.tenant
        report = await resolved(context, wanted, self._means.parts(tenant))

        async def conclude() -> bool:
            text = report.text
            await self._engine.conclude(wanted.run, report, report.outcome, text)
            for failed in await self._resolutions(tenant, wanted.run, (RunState.ATTENTION,)):
                await self._engine.conclude(failed.id, report, RunState.CANCELLED, f"Another way: {text}")
            return True

        await context.step("conclude", conclude, result=bool)
        return report

    async def forget(self, found: RunRecord) -> bool:
        """Forget both ends of a run if nothing hangs on them any more; say whether it did.

        A committed run is needed to retire its source.
        """
        run = found.id
        hold = await self._ends.hold(run)
        retained = hold is not None and hold.state is SourceState.COMMITTED and not hold.retired
        if retained or not await self._ends.settled(run):
            return False
        await self._means.parts(found.tenant).mover.forget(run)
        await self._ends.forget(run)
        return True

    # Cleaning
    async def clean(self, tenant: str, found: RunRecord) -> Cleaned:
        """Remove what a finished run left behind, but nothing that may be the last copy."""
        run = found.id
        if not found.state.final or found.state is RunState.ATTENTION:
            raise errors.Conflict(
                "run.unfinished",
                f"Run {run} is {found.state}; it cleans up by itself.",
                field="run",
                remedy=f"If it is stuck, see both ends: crossport run show {run}",
            )
        await self.none_under_way(tenant, run)
        hold, settled = await self._ends.hold(run), await self._ends.settled(run)
        committed = hold is not None and hold.state is SourceState.COMMITTED
        keep = found.state is RunState.DONE or committed or not settled
        cleaned = await self._clean_both(tenant, found, keep_vm=keep)
        if settled:
            return cleaned
        undecided = (
            f"both ends: nobody decided which is the VM; crossport run resolve {run} --as source|target"
        )
        return Cleaned(removed=cleaned.removed, left=(*cleaned.left, undecided))

    async def finish_test(self, tenant: str, found: RunRecord) -> Cleaned:
        """Remove the isolated copy."""
        if not (await self._request(found.id)).test:
            raise errors.Conflict(
                "run.no-test",
                f"Run {found.id} is no test migration; its VM is in use.",
                field="run",
                remedy="List the tests with: crossport run list --kind test",
            )
        if not found.state.final:
            raise errors.Conflict(
                "run.unfinished",
                f"Run {found.id} is {found.state}.",
                field="run",
                remedy=f"Wait for it, or stop it: crossport run cancel {found.id}",
            )
        return await self._clean_both(tenant, found, keep_vm=False)

    async def _clean_both(self, tenant: str, found: RunRecord, *, keep_vm: bool) -> Cleaned:
        request, site = await self._request(found.id), self._means.site(tenant)
        act = Act(run=found.id, step="clean-by-hand", epoch=found.epoch)
        there = await _cleaned(site, act, request.target, keep_vm=keep_vm)
        here = await _cleaned(site, act, request.source, keep_vm=keep_vm)
        return Cleaned(removed=(*there.removed, *here.removed), left=(*there.left, *here.left))

    # Retiring
    async def retire(
        self, tenant: str, found: RunRecord, report: MigrationReport, *, confirmed: bool
    ) -> tuple[str, ...]:
        """Delete the retained source of a committed run; unconfirmed, only say what would be deleted."""
        run, request = found.id, report.request
        if found.state is not RunState.DONE or request.test:
            raise errors.Conflict(
                "run.not-committed",
                f"Run {run} is {found.state}; only a committed run has a retained source.",
                field="run",
                remedy="List the runs with: crossport run list --state done",
            )
        cloud = await self._means.cloud(tenant, request.source)
        driver = able(cloud, Provisioner)
        try:
            vm = await able(cloud, Inventory).vm(report.source_id)
        except errors.NotFound:  # retired already; one that does not answer is not gone
            await self._ends.retired(run)
            return ()
        if not vm.fenced:
            raise errors.Conflict(
                "vm.not-retained",
                f"{vm.name} at {request.source} is no longer fenced: somebody took it into use again.",
                remedy="Delete it by the means of its cloud, if that is what you want.",
            )
        if not confirmed:
            return (*driver.deletes(vm), *await self._last_copy(tenant, report))
        deleted = await driver.delete_vm(Act(run=run, step="retire", epoch=found.epoch), vm.id)
        await self._ends.retired(run)
        return deleted

    async def _last_copy(self, tenant: str, report: MigrationReport) -> tuple[str, ...]:
        """Say so when the source may be the last copy."""
        why, copy = await self._now(tenant, "target", report.request.target, report.vm_id)
        if copy is not None:
            return ()
        return tuple(f"It may be the last copy: {line}" for line in why or ("the target shows no VM",))


def _copy_id(ledger: tuple[Created, ...]) -> str:
    return next((one.id for one in ledger if one.kind == "vm" and one.id), "")


async def _cleaned(site: Site, act: Act, cloud: str, *, keep_vm: bool) -> Cleaned:
    """Clean one end; one that does not answer is told, so that the other is cleaned all the same."""
    try:
        return await site.clean(act, cloud, keep_vm=keep_vm)
    except (errors.Unavailable, errors.NotFound) as error:
        return Cleaned(left=(f"cloud {cloud}: {error.text}",))
