"""What a site does for people: the one surface below the REST API.

Every call names the tenant in whose name it is made; things of other tenants are NotFound. Calls that take
a ``key`` are idempotent by it: the same key and request answer the same run, another request is a Conflict.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from crossport.model.construct import Constructs
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
from crossport.model.run import Created, Event, MigrationReport, MigrationRequest, RunRecord, RunState
from crossport.model.vm import VM
from crossport.spi.site import Cleaned

__all__ = ["Control"]


class Control(Protocol):
    """One site, as its API serves it."""

    # Clouds
    async def add_cloud(self, tenant: str, entry: CloudEntry) -> CloudStatus:
        """Connect and keep a cloud. Raise Conflict (``cloud.name.taken``), Unavailable, Refused."""
        ...

    async def clouds(self, tenant: str) -> tuple[CloudEntry, ...]:
        """Return all clouds, by name."""
        ...

    async def check_cloud(self, tenant: str, name: str) -> CloudStatus:
        """Ask the cloud now."""
        ...

    async def remove_cloud(self, tenant: str, name: str) -> None:
        """Forget a cloud. Raise Conflict (``cloud.in-use``) while a run uses it."""
        ...

    async def constructs(self, tenant: str, cloud: str) -> Constructs:
        """Return what a VM can be mapped to there."""
        ...

    # VMs
    async def vms(self, tenant: str, cloud: str) -> tuple[VM, ...]:
        """Return the VMs of a cloud."""
        ...

    async def vm(self, tenant: str, cloud: str, vm: str) -> VM:
        """Return one VM by id or unambiguous name."""
        ...

    async def create_vm(self, tenant: str, cloud: str, request: VmRequest, key: str) -> VM:
        """Make and start a VM."""
        ...

    async def start_vm(self, tenant: str, cloud: str, vm: str) -> VM:
        """Start a VM. Refused for one that is fenced."""
        ...

    async def stop_vm(self, tenant: str, cloud: str, vm: str, *, shutdown_s: float, power_off: bool) -> VM:
        """Shut a VM down; pull the plug afterwards only when told."""
        ...

    async def delete_vm(
        self, tenant: str, cloud: str, vm: str, *, confirmed: bool, force_off: bool
    ) -> tuple[str, ...]:
        """Delete a VM with its disks; unconfirmed, only say what would be deleted.

        Raise Refused for one that a migration holds or keeps, Conflict (``vm.delete.running``) for one that
        is not off, unless its power may be taken with ``force_off``.
        """
        ...

    async def console(self, tenant: str, cloud: str, vm: str) -> str:
        """Return the end of the console log."""
        ...

    # Migration
    async def assess(self, tenant: str, source: str, target: str = "") -> Assessment:
        """Judge all VMs of ``source``. Writes nothing. Without a target, only the source is judged."""
        ...

    async def dry_run(self, tenant: str, request: MigrationRequest) -> DryRun:
        """Say what the migration would do. Writes nothing."""
        ...

    async def migrate(self, tenant: str, request: MigrationRequest, key: str) -> RunRecord:
        """Check, then start the run. Raise Blocked with the findings in its text before anything moves."""
        ...

    # Runs
    def run_id(self, tenant: str, key: str) -> str:
        """Return the id of the run that a request with ``key`` begins, or has begun."""
        ...

    async def runs(
        self, tenant: str, *, state: RunState | None, kind: str, after: str, limit: int, vm: str = ""
    ) -> tuple[RunRecord, ...]:
        """Return runs, newest first, beginning behind run ``after``.

        With ``vm`` only those that move a VM which was named so when they were begun.
        """
        ...

    async def run(self, tenant: str, run: str) -> RunRecord:
        """Return one run."""
        ...

    def events(self, tenant: str, run: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Yield the run's events behind number ``after``; with ``follow`` until the run is final."""
        ...

    async def report(self, tenant: str, run: str) -> MigrationReport:
        """Return the report; Conflict (``run.unfinished``) while it runs."""
        ...

    async def cancel(self, tenant: str, run: str) -> RunRecord:
        """Ask the run to stop and roll back. Conflict (``run.committed``) past the commit."""
        ...

    async def resume(self, tenant: str, run: str) -> RunRecord:
        """Try a run that needs attention again from the step that failed."""
        ...

    async def decide(self, tenant: str, run: str, *, commit: bool) -> RunRecord:
        """Commit or roll back a run that waits for it. Conflict (``run.not-waiting``) otherwise."""
        ...

    async def cut_over(self, tenant: str, run: str) -> RunRecord:
        """Let a warm migration shut its source down as soon as its next copy has ended.

        Conflict ``run.not-warm`` for another one, ``run.ended`` when it is final. May be called twice.
        """
        ...

    async def evidence(self, tenant: str, run: str) -> Evidence:
        """Return all that is known about a run in doubt."""
        ...

    async def resolve(self, tenant: str, run: str, outcome: ResolveAs) -> RunRecord:
        """End a run that needs attention as a person says."""
        ...

    async def ledger(self, tenant: str, run: str) -> tuple[Created, ...]:
        """Return what the run created and what became of it."""
        ...

    async def clean(self, tenant: str, run: str) -> Cleaned:
        """Remove what the run left behind. Repeatable."""
        ...

    async def finish_test(self, tenant: str, run: str) -> Cleaned:
        """Remove the isolated copy of a test migration."""
        ...

    async def retire(self, tenant: str, run: str, *, confirmed: bool) -> tuple[str, ...]:
        """Delete the retained source of a committed run; unconfirmed, only say what would be deleted."""
        ...

    # Plans
    async def put_plan(self, tenant: str, plan: Plan) -> Plan:
        """Keep a plan, replacing an older one of the name unless it runs (Conflict ``plan.running``)."""
        ...

    async def remove_plan(self, tenant: str, name: str) -> None:
        """Forget a plan; its runs stay. Raise NotFound, and Conflict (``plan.running``) while it runs."""
        ...

    async def plans(self, tenant: str) -> tuple[Plan, ...]:
        """Return all plans, by name."""
        ...

    async def check_plan(self, tenant: str, name: str) -> PlanCheck:
        """Dry-run every VM of the plan."""
        ...

    async def run_plan(self, tenant: str, name: str, key: str) -> RunRecord:
        """Start the plan."""
        ...

    async def plan_status(self, tenant: str, name: str) -> PlanStatus:
        """Say how far the plan is."""
        ...
