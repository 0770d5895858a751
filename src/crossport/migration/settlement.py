"""What is done about a migration when it has ended: look at both ends, resolve, clean up, retire the source.

Whatever is done here asks both ends first which of them is the VM, so that the last copy is never removed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.belongings import copy_of
from crossport.migration.both_ends import BothEnds, FarEnds, Look
from crossport.migration.end import Ends
from crossport.migration.outcome import of_run
from crossport.migration.parts import Parts
from crossport.migration.permit import SourceState
from crossport.migration.resolve import BY_HAND, Resolution, advice, allowed, resolved
from crossport.migration.retirement import deleted, kept_source, would_delete
from crossport.migration.standing import Standings
from crossport.migration.way_back import is_out_of_reach
from crossport.model.name import parted
from crossport.model.request import Evidence, ResolveAs
from crossport.model.run import Act, MigrationReport, MigrationRequest, RunRecord, RunState
from crossport.model.sealing import Admission
from crossport.spi.cloud import Cloud
from crossport.spi.run import RunContext
from crossport.spi.site import Cleaned, Site

__all__ = ["RESOLVE", "Settlement", "SettlementParts"]

RESOLVE = "resolve"
RESOLVES = "resolves"
"""The label by which the resolutions of a run are found."""
GOING_ON = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementParts:
    """What a settlement works with: the engine, clouds and workflow parts, partners, fresh text."""

    engine: Engine
    cloud: Callable[[str, str], Awaitable[Cloud]]
    parts: Callable[[str], Parts]
    far: FarEnds | None = None
    token: Callable[[], str]


class Settlement:
    """Implements a part of `crossport.spi.control.Control`. Make it before the engine is opened."""

    def __init__(self, means: SettlementParts) -> None:
        self._means = means
        engine = self._engine = means.engine
        here = Standings(lambda: self._ends, lambda: engine.ledger, means.cloud)
        self._here = here
        self._both = BothEnds(lambda: self._ends, here, means.far)
        means.engine.register(RESOLVE, self._run, request=Resolution, report=MigrationReport)

    @property
    def _ends(self) -> Ends:
        return Ends(self._engine.documents)  # there once the engine is open

    async def _request(self, run: str) -> MigrationRequest:
        return await self._engine.runs.request(run, MigrationRequest)

    # Evidence
    async def evidence(self, tenant: str, found: RunRecord) -> Evidence:
        """Return all that both ends know about a run, and how they answer now."""
        look = await self._both.look(tenant, await self._request(found.id), found.id)
        return Evidence(
            run=found,
            statements=look.words,
            ledger=look.ledger,
            source_vm=look.source_vm,
            target_vm=look.target_vm,
            advice=advice(look.hold, look.landing, copy=look.target_vm is not None),
            admission=_admitted(look),
        )

    # Resolution
    async def resolve(self, tenant: str, found: RunRecord, outcome: ResolveAs) -> RunRecord:
        """End a run that needs attention, or was abandoned, as a person says."""
        run = found.id
        await self.none_under_way(tenant, run)
        abandoned = found.state.final and not await self._settled(run)
        if found.state is not RunState.ATTENTION and not abandoned:
            raise errors.Conflict(
                "run.settled",
                f"Run {run} is {found.state}; nothing is to be resolved.",
                **of_run(run),
            )
        request = await self._request(run)
        look = await self._both.look(tenant, request, run)
        wanted = _wanted(run, request, look, outcome)
        allowed(wanted, look.hold)
        return await self._engine.submit(
            RESOLVE,
            wanted,
            run_id=f"{run}-{outcome}-{self._means.token()[:6]}",
            tenant=tenant,
            subject=found.subject,
            labels={RESOLVES: run},
        )

    async def _settled(self, run: str) -> bool:
        return await self._both.settled(await self._request(run), run)

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
        if retained or not await self._settled(run):
            return False
        await self._means.parts(found.tenant).mover.forget(run)
        await self._both.forget(run)
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
        hold = (await self._both.look(tenant, await self._request(run), run)).hold
        settled = await self._settled(run)
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
        request, site = await self._request(found.id), self._means.parts(tenant).site
        act = Act(run=found.id, step="clean-by-hand", epoch=await self._epoch(tenant, found))
        there = await _cleaned(await site(request.target), act, request.target, keep_vm=keep_vm)
        here = await _cleaned(await site(request.source), act, request.source, keep_vm=keep_vm)
        return Cleaned(removed=(*there.removed, *here.removed), left=(*there.left, *here.left))

    async def _epoch(self, tenant: str, found: RunRecord) -> int:
        """Return the epoch that the run's ends know by now: its own, or that of whoever resolved it."""
        resolutions = await self._resolutions(tenant, found.id, tuple(RunState))
        return max(found.epoch, *(BY_HAND + one.epoch for one in resolutions), 0)

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
        _need_own(request.source)
        cloud = await self._means.cloud(tenant, request.source)
        vm = await kept_source(cloud, report.source_id)
        if vm is not None and not confirmed:
            return (*would_delete(cloud, vm), *await self._last_copy(tenant, report))
        done = await deleted(Act(run=run, step="retire", epoch=found.epoch), cloud, vm) if vm else ()
        await self._ends.retired(run)
        return done

    async def _last_copy(self, tenant: str, report: MigrationReport) -> tuple[str, ...]:
        """Say so when the source may be the last copy."""
        look = await self._both.look(tenant, report.request, report.run)
        if look.target_vm is not None:
            return ()
        why = [line for line in look.words if line.startswith(f"target {report.request.target}: now ")]
        return tuple(f"It may be the last copy: {line}" for line in why or ("the target shows no VM",))


def _wanted(run: str, request: MigrationRequest, look: Look, outcome: ResolveAs) -> Resolution:
    hold = look.hold
    source_vm = look.source_vm.id if look.source_vm else request.vm
    return Resolution(
        run=run,
        request=request,
        source_id=hold.vm if hold and hold.vm else source_vm,
        target_id=copy_of(look.ledger) or (look.target_vm.id if look.target_vm else ""),
        seen=look.target_vm is not None,
        outcome=outcome,
        committed=hold is not None and hold.state is SourceState.COMMITTED,
        verified=look.landing.verified,
    )


def _need_own(cloud: str) -> None:
    if site := parted(cloud)[1]:
        raise errors.Conflict(
            "source.retire.partner",
            f"The retained source is a VM of {site}.",
            field="run",
            remedy="Its owner deletes it there: crossport trust runs, then crossport source retire RUN.",
        )


async def _cleaned(site: Site, act: Act, cloud: str, *, keep_vm: bool) -> Cleaned:
    """Clean one end; one that does not answer is told, so that the other is cleaned all the same."""
    try:
        return await site.clean(act, cloud, keep_vm=keep_vm)
    except errors.Error as error:
        if not is_out_of_reach(error):
            raise
        return Cleaned(left=(f"cloud {cloud}: {error.text}",))


def _admitted(look: Look) -> Admission | None:
    image = look.landing.image
    return image.admission if image is not None and image.accepted else None
