"""End a run that needs attention as a person says, by the same statements as the run itself.

The person decides which side is the truth; the start permit still decides what is allowed. Choosing the
target where the source never permitted it, or the source behind the commit, is refused by the tables.
"""

from crossport import errors
from crossport.migration.end import Hold, Landing
from crossport.migration.leg import Leg
from crossport.migration.parts import Parts
from crossport.migration.permit import SourceState
from crossport.migration.way_back import bring_back, clean_up, reclaim
from crossport.migration.way_on import open_up, permitted
from crossport.model.record import record
from crossport.model.request import ResolveAs
from crossport.model.run import Act, MigrationReport, MigrationRequest, RunState
from crossport.spi.run import RunContext

__all__ = ["BY_HAND", "Resolution", "advice", "allowed", "resolved", "said"]


BY_HAND = 1_000
"""Above every epoch that a run may have reached: what a person asks for ends what it was at."""


@record()
class Resolution:
    """Which run is ended how. ``source_id`` is the source's VM, ``target_id`` the copy, empty if none.

    ``committed`` and ``verified`` tell how far the ends were when the person decided, ``seen`` whether the
    target showed its copy.
    """

    run: str
    request: MigrationRequest
    source_id: str
    target_id: str
    outcome: ResolveAs
    committed: bool = False
    verified: bool = False
    seen: bool = False


class _InName:
    """The resolving run's context, whose acts are made in the name of the run that is resolved."""

    def __init__(self, context: RunContext, run: str) -> None:
        self._context = context
        self.run = run
        self.epoch = BY_HAND + context.epoch
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
    if wanted.outcome is ResolveAs.ABANDON:
        return _report(wanted, RunState.CANCELLED, "Abandoned: nothing was touched.", ())
    if wanted.outcome is ResolveAs.TARGET:
        permit = await permitted(leg, wanted.source_id, wanted.target_id)
        await open_up(leg, wanted.target_id, permit)
        left = await clean_up(leg, keep_vm=True)
        return _report(wanted, RunState.DONE, "Resolved: the target is the VM now.", left)
    await _go_back(leg, wanted)
    left = await clean_up(leg, keep_vm=False)
    return _report(wanted, RunState.ROLLED_BACK, "Resolved: the source is as it was before.", left)


async def _go_back(leg: Leg, wanted: Resolution) -> None:
    """Bring the source back; behind the commit, or without the target, only when the copy is lost."""
    alone = wanted.outcome is ResolveAs.SOURCE_ALONE
    if alone or wanted.committed:
        await reclaim(leg, wanted.source_id, wanted.target_id, committed=wanted.committed, sure=alone)
    elif not wanted.request.test:
        await bring_back(leg, wanted.source_id, sure=not wanted.verified)


def _report(wanted: Resolution, outcome: RunState, text: str, left: tuple[str, ...]) -> MigrationReport:
    return MigrationReport(
        run=wanted.run,
        request=wanted.request,
        outcome=outcome,
        source_id=wanted.source_id,
        vm_id=wanted.target_id if outcome is RunState.DONE else "",
        left_behind=left,
        text=text,
    )


def said(hold: Hold | None, landing: Landing) -> tuple[str, ...]:
    """Return in words what both ends of a run have stated."""
    lines: list[str] = []
    if hold is not None:
        done = f"; done: {', '.join(hold.fence.done)}" if hold.fence.done else ""
        lines.append(f"source {hold.cloud}: {hold.vm} was {hold.was} and is {hold.state}{done}")
    if landing.cloud:
        checked = "verified" if landing.verified else "not verified"
        lines.append(f"target {landing.cloud}: the copy is {landing.state}, its data {checked}")
    return tuple(lines)


def advice(hold: Hold | None, landing: Landing, *, copy: bool) -> str:
    """Return in words which way is open; ``copy``: the target shows the run's VM now."""
    state = hold.state if hold else SourceState.FREE
    if state is SourceState.COMMITTED:
        if copy:
            return "The commit was recorded: the target is the truth. Resolve as target."
        return (
            "The commit was recorded, and the target does not show the copy now. If it is only away, wait "
            "and resolve as target; if it is lost, resolve as source."
        )
    if state is SourceState.HELD and landing.verified:
        return "The decision is open: resolve as source to go back, as target to go on if the copy is well."
    return "No permit was or will be given: the source is the truth. Resolve as source."


def allowed(wanted: Resolution, hold: Hold | None) -> None:
    """Raise Conflict when ``wanted`` would lose both sides, or run both: the ends would refuse it anyway."""
    state = hold.state if hold else SourceState.FREE
    if wanted.outcome is ResolveAs.TARGET:
        if why := _no_copy(wanted, state):
            raise errors.Conflict(
                "run.copy.none",
                f"Run {wanted.run} cannot be resolved as target: {why}.",
                field="outcome",
                remedy=f"Go back instead: crossport run resolve {wanted.run} --as source",
            )
    elif wanted.outcome is not ResolveAs.ABANDON and state is SourceState.COMMITTED and wanted.seen:
        raise errors.Conflict(
            "run.committed",
            f"Run {wanted.run} was committed, and {wanted.request.target} has its VM.",
            field="outcome",
            remedy=f"Go on: crossport run resolve {wanted.run} --as target",
        )


def _no_copy(wanted: Resolution, state: SourceState) -> str:
    if wanted.request.test:
        return "a test migration has no commit"
    if state not in {SourceState.HELD, SourceState.COMMITTED}:
        return f"its source is {state}"
    if not wanted.verified:
        return f"{wanted.request.target} holds no verified copy"
    return "" if wanted.seen else f"{wanted.request.target} does not show the copy now"
