"""End a run that needs attention as a person says, by the same statements as the run itself.

The person decides which side is the truth; the start permit still decides what is allowed. Choosing the
target where the source never permitted it, or the source behind the commit, is refused by the tables.
"""

from crossport.migration.end import Ends
from crossport.migration.leg import SURE, Leg
from crossport.migration.parts import Parts
from crossport.migration.way_back import bring_back, clean_up
from crossport.model.permit import Statement
from crossport.model.record import record
from crossport.model.request import ResolveAs
from crossport.model.run import Act, MigrationReport, MigrationRequest, RunState
from crossport.model.vm import VM
from crossport.spi.run import RunContext
from crossport.spi.site import Site

__all__ = ["Resolution", "advice", "resolved", "said"]


@record()
class Resolution:
    """Which run is ended how. ``vm`` is the source's VM, ``target_id`` the target's, empty if none."""

    run: str
    request: MigrationRequest
    vm: VM
    target_id: str
    outcome: ResolveAs


class _InName:
    """The resolving run's context, whose acts are made in the name of the run that is resolved."""

    def __init__(self, context: RunContext, run: str) -> None:
        self._context = context
        self.run = run
        self.epoch = context.epoch + 1_000  # above every epoch that the old run may have reached
        self.step = context.step
        self.emit = context.emit
        self.protect = context.protect
        self.decision = context.decision

    def act(self, step: str) -> Act:
        return Act(run=self.run, step=f"resolve-{step}", epoch=self.epoch)


async def resolved(context: RunContext, wanted: Resolution, parts: Parts) -> MigrationReport:
    """End the run; return a report of how."""
    context.protect()
    leg = Leg(_InName(context, wanted.run), wanted.request, parts)
    if wanted.outcome is ResolveAs.SOURCE:
        await bring_back(leg, wanted.vm)
        left = await clean_up(leg, keep_vm=False)
        return _report(wanted, RunState.ROLLED_BACK, "Resolved: the source is as it was before.", left)
    if wanted.outcome is ResolveAs.TARGET:
        await _commit(leg, wanted)
        left = await clean_up(leg, keep_vm=True)
        return _report(wanted, RunState.DONE, "Resolved: the target is the VM now.", left)
    return _report(wanted, RunState.CANCELLED, "Abandoned: nothing was touched.", ())


async def _commit(leg: Leg, wanted: Resolution) -> None:
    request = wanted.request

    async def permit(act: Act) -> Statement:
        return await (await leg.source()).commit(act, request.source, wanted.vm.id, permit=None)

    permitted = (await leg.timed("commit-source", permit, Statement, SURE)).value

    async def open_network(act: Act) -> Statement:
        site: Site = await leg.target()
        return await site.commit(act, request.target, wanted.target_id, permit=permitted)

    await leg.timed("commit-target", open_network, Statement, SURE)


def _report(wanted: Resolution, outcome: RunState, text: str, left: tuple[str, ...]) -> MigrationReport:
    return MigrationReport(
        run=wanted.run,
        request=wanted.request,
        outcome=outcome,
        source_id=wanted.vm.id,
        vm_id=wanted.target_id if outcome is RunState.DONE else "",
        left_behind=left,
        text=text,
    )


async def said(ends: Ends, run: str) -> tuple[str, ...]:
    """Return in words what both ends of this site have stated in ``run``."""
    hold, landing = await ends.hold(run), await ends.landing(run)
    lines: list[str] = []
    if hold is not None:
        done = f"; done: {', '.join(hold.fence.done)}" if hold.fence.done else ""
        lines.append(f"source {hold.cloud}: {hold.vm} was {hold.was} and is {hold.state}{done}")
    if landing.cloud:
        checked = "verified" if landing.verified else "not verified"
        lines.append(f"target {landing.cloud}: the copy is {landing.state}, its data {checked}")
    return tuple(lines)


def advice(statements: tuple[str, ...]) -> str:
    """Return in words which way is open."""
    text = " ".join(statements)
    if " is committed" in text:
        return "The commit was recorded: the target is the truth. Resolve as target."
    if " is withdrawn" in text or " is released" in text or not statements:
        return "No permit was or will be given: the source is the truth. Resolve as source."
    return "The decision is open: resolve as source to go back, as target to go on if the copy is well."
