"""One site as its API serves it: clouds, VMs, migrations, runs and plans of each tenant.

It decides nothing that another module decides: it finds the tenant's things, hands them on, and makes runs
out of requests.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.settings import Limits
from crossport.migration.audited_site import audited
from crossport.migration.embedded import need_unused
from crossport.migration.end import Ends
from crossport.migration.estimate import HistoryEstimator
from crossport.migration.finding import standing
from crossport.migration.following import CUTOVER
from crossport.migration.judge import assess, dry_run, in_order
from crossport.migration.link import Links
from crossport.migration.local_site import LocalSite, SiteParts, able, seat
from crossport.migration.outcome import blocked, of_run
from crossport.migration.partner.abroad import Abroad, abroad_site, at_home
from crossport.migration.partner.foreign import Foreign
from crossport.migration.partner.retained import Retained
from crossport.migration.parts import Hooks, Parts, RateProbe
from crossport.migration.plans import MIGRATE, Plans, labels
from crossport.migration.published import IMAGES
from crossport.migration.registry import CloudRegistry
from crossport.migration.runs import TenantRuns
from crossport.migration.settlement import Settlement, SettlementParts
from crossport.migration.vms import TenantVms
from crossport.migration.warm import migration_of
from crossport.migration.warm_finding import check_order
from crossport.model.artifact import Place, Way
from crossport.model.construct import Constructs
from crossport.model.inspection import LookMode
from crossport.model.name import parted
from crossport.model.plan import Plan, PlanCheck, PlanStatus
from crossport.model.request import (
    Assessment,
    CloudEntry,
    CloudStatus,
    DryRun,
    Evidence,
    ResolveAs,
    VmRequest,
)
from crossport.model.run import (
    Created,
    Event,
    MigrationReport,
    MigrationRequest,
    RunRecord,
    RunState,
)
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.cloud import Inventory
from crossport.spi.gateway import Seats
from crossport.spi.inspect import Inspector
from crossport.spi.mover import Mover
from crossport.spi.partner import Partners
from crossport.spi.run import RunContext
from crossport.spi.sealing import Sealer
from crossport.spi.site import Cleaned, Site

__all__ = ["MeansOfControl", "SiteControl"]

AT_ONCE = Limits(at_once=8, per_partition=4)
"""Migrations at once in all, and to one cloud: each keeps two worker processes busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeansOfControl:
    """What a site's control works with. ``token`` returns fresh random text.

    Without ``probe`` no link is measured; without ``seats``, ``abroad``, ``partners`` and ``inspector`` there
    are none. ``images_most`` published images are looked into for each disk. ``look``: whether guests that
    leave are looked into.
    """

    site: str
    engine: Engine
    registry: CloudRegistry
    mover: Mover
    sealer: Sealer
    hooks: Hooks
    clock: Clock
    token: Callable[[], str]
    probe: RateProbe | None = None
    seats: Seats | None = None
    images_most: int = IMAGES
    abroad: Abroad | None = None
    partners: Partners | None = None
    inspector: Inspector | None = None
    look: LookMode = LookMode.NEVER


class SiteControl:
    """Implements `crossport.spi.control.Control`. Make it before the engine is opened.

    ``run_ended`` is set whenever a migration has ended here; whoever waits for it clears it.
    """

    def __init__(self, means: MeansOfControl) -> None:
        self.run_ended = asyncio.Event()
        self._means = means
        engine = self._engine = means.engine
        self._registry = means.registry
        self._links = Links(means.probe, self._place, means.clock, means.seats)
        engine.register(
            MIGRATE,
            self.run_migration,
            request=MigrationRequest,
            report=MigrationReport,
            limits=AT_ONCE,
            partition=lambda request: request.target,
        )
        foreign = Foreign(lambda: engine.documents, means.clock)
        self._retained = Retained(foreign, lambda: Ends(engine.documents), means.registry.cloud)
        self._settlement = Settlement(
            SettlementParts(
                engine=engine,
                cloud=means.registry.cloud,
                parts=self._parts,
                token=means.token,
                far=means.abroad,
            )
        )
        engine.keep(MIGRATE, self._forget)
        self._runs = TenantRuns(engine)
        self._vms = TenantVms(registry=means.registry, holder=self._holder, token=means.token)
        self._plans = Plans(engine, means.clock, self.dry_run)

    # What runs do.
    def _parts(self, tenant: str) -> Parts:
        means = self._means

        async def site(cloud: str) -> Site:
            partner = parted(cloud)[1]
            if not partner:
                return self.audited_site(tenant)
            return audited(abroad_site(means.abroad, tenant, partner), means.engine.audit, tenant)

        return Parts(
            site=site,
            mover=means.mover,
            clock=means.clock,
            estimator=self._estimator(tenant),
            hooks=means.hooks,
            passage=lambda source, target: self._links.passage(tenant, source, target),
        )

    def audited_site(self, tenant: str, partner: str = "") -> Site:
        """Return this site as an end of a migration, with each call in the audit log.

        With ``partner`` that one executes the run, and is named in the log.
        """
        return audited(self.own_site(tenant), self._engine.audit, tenant, partner=partner)

    def own_site(self, tenant: str) -> LocalSite:
        """Return this site as an end of a migration of this tenant."""
        means = self._means
        parts = SiteParts(
            tenant=tenant,
            connect=lambda cloud: means.registry.cloud(tenant, cloud),
            documents=means.engine.documents,
            ledger=means.engine.ledger,
            mover=means.mover,
            sealer=means.sealer,
            clock=means.clock,
            token=means.token,
            partners=means.partners,
            images_most=means.images_most,
            inspector=means.inspector,
            look=means.look,
            seats=means.seats,
        )
        return LocalSite(means.site, parts)

    async def _holder(self, tenant: str, cloud: str, vm: str) -> str:
        return await self.own_site(tenant).holder(cloud, vm)

    def _estimator(self, tenant: str) -> HistoryEstimator:
        return HistoryEstimator(self._engine.documents, tenant, self._links)

    async def _place(self, tenant: str, cloud: str, way: Way) -> Place:
        return await seat(await self._registry.cloud(tenant, cloud), tenant, cloud, way)

    async def run_migration(self, context: RunContext, request: MigrationRequest) -> MigrationReport:
        """Execute one run of the kind migrate, and learn from it. The engine calls this."""
        try:
            report = await migration_of(context, request, self._parts(request.tenant)).run()
            if abroad := self._means.abroad:
                report = replace(report, tenants=await abroad.tenants(request, report.run))
            await self._estimator(request.tenant).learn(report)
            return report
        finally:
            self.run_ended.set()

    async def _forget(self, found: RunRecord) -> bool:
        """Say whether nothing depends on a migration any more: its ends, its source, its plan."""
        plan = found.id.rpartition("-")[0]
        if plan and await self._runs.find(plan) is not None:
            return False  # the plan's own run tells how far its VMs are
        return await self._settlement.forget(found)

    # Clouds
    async def add_cloud(self, tenant: str, entry: CloudEntry) -> CloudStatus:
        """Connect and keep a cloud."""
        return await self._registry.add(tenant, entry)

    async def clouds(self, tenant: str) -> tuple[CloudEntry, ...]:
        """Return all clouds."""
        return await self._registry.entries(tenant)

    async def check_cloud(self, tenant: str, name: str) -> CloudStatus:
        """Ask the cloud now."""
        return await self._registry.check(tenant, name)

    async def remove_cloud(self, tenant: str, name: str) -> None:
        """Forget a cloud that no run uses."""
        await need_unused(self, tenant, name)
        await self._registry.remove(tenant, name)

    async def constructs(self, tenant: str, cloud: str) -> Constructs:
        """Return what a VM can be mapped to."""
        return await able(await self._registry.cloud(tenant, cloud), Inventory).constructs()

    # VMs
    async def vms(self, tenant: str, cloud: str) -> tuple[VM, ...]:
        """Return the VMs of a cloud."""
        return await self._vms.every(tenant, cloud)

    async def vm(self, tenant: str, cloud: str, vm: str) -> VM:
        """Return one VM."""
        return await self._vms.one(tenant, cloud, vm)

    async def create_vm(self, tenant: str, cloud: str, request: VmRequest, key: str) -> VM:
        """Make and start a VM."""
        run = self.run_id(tenant, f"create-vm/{cloud}/{key}" if key else "")
        return await self._vms.create(tenant, cloud, request, run)

    async def start_vm(self, tenant: str, cloud: str, vm: str) -> VM:
        """Start a VM."""
        return await self._vms.start(tenant, cloud, vm)

    async def stop_vm(self, tenant: str, cloud: str, vm: str, *, shutdown_s: float, power_off: bool) -> VM:
        """Shut a VM down."""
        return await self._vms.stop(tenant, cloud, vm, shutdown_s=shutdown_s, power_off=power_off)

    async def delete_vm(
        self, tenant: str, cloud: str, vm: str, *, confirmed: bool, force_off: bool
    ) -> tuple[str, ...]:
        """Delete a VM with its disks, unless a migration holds or keeps it."""
        return await self._vms.delete(tenant, cloud, vm, confirmed=confirmed, force_off=force_off)

    async def console(self, tenant: str, cloud: str, vm: str) -> str:
        """Return the end of the console log."""
        return await self._vms.console(tenant, cloud, vm)

    # Migration
    async def assess(self, tenant: str, source: str, target: str = "") -> Assessment:
        """Judge all VMs of a cloud."""
        vms = await self.vms(tenant, source)
        return await assess(source, target, vms, self._parts(tenant))

    async def dry_run(self, tenant: str, request: MigrationRequest) -> DryRun:
        """Say what the migration would do."""
        request = at_home(replace(request, tenant=tenant), self._means.site)
        return await dry_run(in_order(request), self._parts(tenant))

    async def migrate(self, tenant: str, request: MigrationRequest, key: str) -> RunRecord:
        """Check, then start the run."""
        request = at_home(replace(request, tenant=tenant), self._means.site)
        run_id = self.run_id(tenant, key)
        found: DryRun | None = None
        if await self._runs.find(run_id) is None:
            found = await self.dry_run(tenant, request)
            # First: its findings would speak of the traces of the run that has it.
            await self._not_migrating(tenant, request, found.vm)
            stop = standing(found.findings, request.accept)
            if stop:
                raise blocked(stop)
        named = labels(request, found)
        return await self._engine.submit(
            MIGRATE, request, run_id=run_id, tenant=tenant, subject=request.vm, labels=named
        )

    async def _not_migrating(self, tenant: str, request: MigrationRequest, vm: VM) -> None:
        if "@" in request.source:
            return  # its site says so itself, when the run reserves the VM
        holder = await self._holder(tenant, request.source, vm.id)
        if not holder:
            return
        found = await self._runs.find(holder)
        if found and found.state.final:
            raise errors.Conflict(
                "vm.undecided",
                f"{vm.name} still belongs to run {holder}, which is {found.state}.",
                field="vm",
                remedy=f"See both ends with: crossport run show {holder}, then resume or resolve it.",
            )
        raise errors.Conflict(
            "vm.migrating",
            f"{vm.name} is already being migrated by run {holder}.",
            field="vm",
            remedy=f"Look at it with: crossport run show {holder}",
        )

    # Runs
    async def runs(
        self, tenant: str, *, state: RunState | None, kind: str, after: str, limit: int, vm: str = ""
    ) -> tuple[RunRecord, ...]:
        """Return runs, newest first. A test migration is a migration with a label; ``test`` finds these."""
        return await self._runs.some(tenant, state=state, kind=kind, after=after, limit=limit, vm=vm)

    async def run(self, tenant: str, run: str) -> RunRecord:
        """Return one run."""
        return await self._runs.one(tenant, run)

    def events(self, tenant: str, run: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Yield the run's events."""
        return self._runs.events(tenant, run, after=after, follow=follow)

    async def report(self, tenant: str, run: str) -> MigrationReport:
        """Return the report of a migration."""
        return await self._runs.report(tenant, run)

    async def cancel(self, tenant: str, run: str) -> RunRecord:
        """Ask the run to stop."""
        await self.run(tenant, run)
        return await self._engine.cancel(run)

    async def resume(self, tenant: str, run: str) -> RunRecord:
        """Try again from the step that failed."""
        await self.run(tenant, run)
        await self._settlement.none_under_way(tenant, run)
        return await self._engine.resume(run)

    async def decide(self, tenant: str, run: str, *, commit: bool) -> RunRecord:
        """Commit or roll back a run that waits."""
        await self.run(tenant, run)
        try:
            await self._engine.decide(run, "commit", "commit" if commit else "rollback")
        except errors.Conflict as error:
            if error.code != "decision.not_asked" and not (await self.run(tenant, run)).state.final:
                raise
            raise errors.Conflict(
                "run.not-waiting", f"Run {run} does not wait for a decision.", **of_run(run)
            ) from error
        return await self.run(tenant, run)

    async def cut_over(self, tenant: str, run: str) -> RunRecord:
        """Let a warm migration shut its source down."""
        found = await self.run(tenant, run)
        check_order(found, await self._runs.asked(found) if found.kind == MIGRATE else None)
        await self._engine.decide(run, CUTOVER, CUTOVER, early=True)
        return await self.run(tenant, run)

    async def evidence(self, tenant: str, run: str) -> Evidence:
        """Return all that is known about a run."""
        return await self._settlement.evidence(tenant, await self._runs.migration(tenant, run))

    async def resolve(self, tenant: str, run: str, outcome: ResolveAs) -> RunRecord:
        """End a run that needs attention as a person says."""
        return await self._settlement.resolve(tenant, await self._runs.migration(tenant, run), outcome)

    async def ledger(self, tenant: str, run: str) -> tuple[Created, ...]:
        """Return what the run created."""
        await self.run(tenant, run)
        return await self._engine.ledger.entries(run)

    async def clean(self, tenant: str, run: str) -> Cleaned:
        """Remove what the run left behind."""
        return await self._settlement.clean(tenant, await self._runs.migration(tenant, run))

    async def finish_test(self, tenant: str, run: str) -> Cleaned:
        """Remove the isolated copy."""
        return await self._settlement.finish_test(tenant, await self._runs.migration(tenant, run))

    async def retire(self, tenant: str, run: str, *, confirmed: bool) -> tuple[str, ...]:
        """Delete the retained source of a committed run, one that a partner executed too."""
        if served := await self._retained.run(tenant, run):
            return await self._retained.retire(served, confirmed=confirmed)
        found, report = await self._runs.migration(tenant, run), await self.report(tenant, run)
        return await self._settlement.retire(tenant, found, report, confirmed=confirmed)

    # Plans
    async def put_plan(self, tenant: str, plan: Plan) -> Plan:
        """Keep a plan."""
        return await self._plans.put(tenant, plan)

    async def remove_plan(self, tenant: str, name: str) -> None:
        """Forget a plan; its runs stay."""
        await self._plans.remove(tenant, name)

    async def plans(self, tenant: str) -> tuple[Plan, ...]:
        """Return all plans."""
        return await self._plans.every(tenant)

    async def check_plan(self, tenant: str, name: str) -> PlanCheck:
        """Dry-run every VM of the plan."""
        return await self._plans.check(tenant, name)

    async def run_plan(self, tenant: str, name: str, key: str) -> RunRecord:
        """Start the plan when nothing stands in the way of any of its VMs."""
        return await self._plans.start(tenant, name, self.run_id(tenant, key))

    async def plan_status(self, tenant: str, name: str) -> PlanStatus:
        """Say how far the plan is."""
        return await self._plans.status(tenant, name)

    def run_id(self, tenant: str, key: str) -> str:
        """Return the id that follows from an idempotency key, or a fresh one."""
        text = f"{tenant}\0{key}" if key else self._means.token()
        return hashlib.sha256(text.encode()).hexdigest()[:12]
