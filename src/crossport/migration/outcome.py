"""How a migration that did not go through ends, in words and in the state of its run."""

from collections.abc import Iterable
from dataclasses import replace

from crossport import errors
from crossport.migration.grant import LATE
from crossport.model.finding import Finding
from crossport.model.run import Event, MigrationReport, RunRecord, RunState

__all__ = ["CANCELLED", "attention", "blocked", "ended", "of_run", "with_late", "wrong_kind"]

CANCELLED = "run.cancelled"
"""The code with which a person's wish to stop ends a run; whatever else stops it has a code of its own."""


def blocked(findings: tuple[Finding, ...]) -> errors.Blocked:
    """Return the error for findings that stand in the way: all of them, each with its remedy."""
    lines = [f"{one.severity}: {one.subject}: {one.text} {one.remedy} [{one.code}]" for one in findings]
    return errors.Blocked(
        findings[0].code,
        f"{len(findings)} finding{'s' * (len(findings) > 1)} in the way.\n" + "\n".join(lines),
        remedy="Nothing was touched.",
    )


def ended(error: errors.Error) -> tuple[RunState, str]:
    """Return the outcome of a run that failed with ``error`` and was then brought back."""
    if isinstance(error, errors.Cancelled) and error.code == CANCELLED:
        return RunState.CANCELLED, "Cancelled. The source is as it was before."
    remedy = f" {error.remedy}" if error.remedy else ""
    return RunState.ROLLED_BACK, f"{error.text}{remedy} The source is as it was before."


def of_run(run: str) -> dict[str, str]:
    """Return what is at fault, and what to do, when the state of ``run`` does not admit what was asked."""
    return {"field": "run", "remedy": f"See how far it is with: crossport run show {run}"}


def with_late(report: MigrationReport, told: Iterable[Event]) -> MigrationReport:
    """Return the report with what the watch over grants told of its run, beside what the run knew."""
    late = tuple(one.finding for one in told if one.finding and one.finding.code == LATE)
    return replace(report, findings=(*report.findings, *late))


def attention(error: errors.Error, run: str, committed: bool) -> errors.NeedsAttention:
    """Return the error for a run that could be finished neither way for now."""
    where = "behind the commit" if committed else "while going back"
    return errors.NeedsAttention(
        error.code,
        f"The run stopped {where}: {error.text}",
        remedy=f"When that is repaired: crossport run resume {run}. "
        f"To see both sides: crossport run show {run}",
    )


def wrong_kind(found: RunRecord) -> errors.Conflict:
    """Return what is said where only a migration has what was asked for."""
    return errors.Conflict(
        "run.kind.wrong",
        f"Run {found.id} is no migration but of the kind {found.kind}.",
        field="run",
        remedy="List the migrations with: crossport run list --kind migrate",
    )
