"""What stands in the way of a warm migration beyond what stands in the way of a cold one. Pure."""

from crossport import errors
from crossport.model.artifact import ExportPoint
from crossport.model.finding import Finding, Severity
from crossport.model.run import Cutover, Estimate, MigrationRequest, Mode, RunRecord, Verify, WarmRules
from crossport.model.vm import VM, PowerState
from crossport.spi.site import Description
from crossport.units import seconds_text

__all__ = ["check_order", "check_rules", "warm_findings"]


def check_rules(rules: WarmRules) -> None:
    """Raise Invalid, with the field, for rules that mean nothing."""
    for field in ("max_outage_s", "interval_s", "deadline_s"):
        if getattr(rules, field) <= 0:
            raise errors.Invalid(
                "migrate.warm.invalid",
                "This is a time that passes: more than nothing.",
                field=f"warm.{field}",
                remedy="Give seconds, or leave it out.",
            )


def check_order(run: RunRecord, request: MigrationRequest | None) -> None:
    """Raise Conflict when nobody can order the cutover of ``run``; ``request`` is that of a migration."""
    if request is None or request.mode is not Mode.WARM or request.test:
        raise errors.Conflict(
            "run.not-warm",
            f"Run {run.id} follows no running VM: there is no cutover to order.",
            remedy="Only a migration with --mode warm has one.",
        )
    if run.state.final:
        raise errors.Conflict(
            "run.ended", f"Run {run.id} has ended: {run.state}.", remedy="Look at its report."
        )


def warm_findings(
    vm: VM, request: MigrationRequest, source: Description, estimate: Estimate, now: float
) -> tuple[Finding, ...]:
    """Return what stands in the way of moving ``vm`` warm; nothing for another mode."""
    if request.mode is not Mode.WARM:
        return ()
    return (
        *_source_findings(vm, source),
        *(() if request.test else _cutover_findings(request, estimate, now)),
    )


def _source_findings(vm: VM, source: Description) -> list[Finding]:
    cloud, found = f"cloud {source.constructs.cloud}", list[Finding]()
    if vm.power is not PowerState.RUNNING:
        found.append(
            Finding(
                "vm.warm.stopped",
                Severity.BLOCKER,
                f"vm {vm.name}",
                f"{vm.name} is {vm.power}: there is nothing that goes on while it is copied.",
                "Use --mode cold, or start it first.",
            )
        )
    if ExportPoint.SNAPSHOT not in source.points:
        found.append(
            Finding(
                "source.export.unable",
                Severity.BLOCKER,
                cloud,
                f"{source.constructs.cloud} cannot export a VM that runs.",
                "Choose another --mode.",
            )
        )
    if "ChangeTracker" not in source.abilities:
        found.append(
            Finding(
                "source.tracking.none",
                Severity.WARNING,
                cloud,
                f"{source.constructs.cloud} cannot tell what a guest changed: every sync reads all.",
                "Expect a longer outage, or use --mode cold.",
            )
        )
    return found


def _cutover_findings(request: MigrationRequest, estimate: Estimate, now: float) -> list[Finding]:
    rules, subject, found = request.warm, f"vm {request.vm}", list[Finding]()
    if rules.verify is Verify.STREAM:
        found.append(
            Finding(
                "verify.stream",
                Severity.DECISION,
                subject,
                "The stopped source is not compared with the copy, nor is the copy read as it lies there: a "
                "change that was not tracked, or a bit that storage lost, stays unseen.",
                "Use --verify rest, or accept it with --accept verify.stream.",
            )
        )
    if rules.cutover_at and rules.cutover_at <= now:
        found.append(
            Finding(
                "cutover.time.past",
                Severity.BLOCKER,
                subject,
                "The time of the cutover is over.",
                "Give a later one with --cutover-at, or leave it out.",
            )
        )
    by_itself = rules.cutover is Cutover.AUTO and not rules.cutover_at
    if by_itself and estimate.outage_s > rules.max_outage_s:
        found.append(
            Finding(
                "warm.outage.long",
                Severity.DECISION,
                subject,
                f"Even with nothing left to copy {seconds_text(estimate.outage_s)} of outage are expected; "
                f"--max-outage allows {seconds_text(rules.max_outage_s)}.",
                "Allow more with --max-outage, save the comparison with --verify stream, or order the "
                "cutover yourself with --cutover manual. With --accept warm.outage.long it begins.",
            )
        )
    return found
