"""The report of a migration as tables for people: phases, bytes, outage, mapping, estimate. Pure."""

from collections.abc import Iterable

from crossport.cli.text import Table, aligned, fields
from crossport.model.artifact import Consistency
from crossport.model.finding import Finding
from crossport.model.mapping import Mapping
from crossport.model.run import PHASES, Estimate, MigrationReport, Phase, Sync
from crossport.units import seconds_text, size_text

__all__ = ["finding_table", "mapping_table", "report_tables", "report_text"]


def report_tables(report: MigrationReport) -> list[Table]:
    """Return the whole report; parts of which nothing is known are left out."""
    tables = [_summary(report), phase_times(report.phases, report.total_seconds)]
    if report.moved:
        tables.append(_bytes(report))
    if report.syncs:
        tables.append(_syncs(report.syncs))
    if report.estimate:
        tables.append(_estimate(report, report.estimate))
    if report.mapping.choices:
        tables.append(mapping_table(report.mapping))
    if report.findings:
        tables.append(finding_table(report.findings))
    if report.health and report.health.results:
        tables.append(_health(report))
    if report.left_behind:
        left = tuple((thing,) for thing in report.left_behind)
        tables.append(Table(("COULD NOT BE REMOVED",), left, "Left behind"))
    return tables


def report_text(report: MigrationReport) -> str:
    """Return the report as plain text."""
    return "\n".join(map(aligned, report_tables(report)))


def finding_table(findings: Iterable[Finding], title: str = "Findings") -> Table:
    """Return findings, gravest first, with what to do about them."""
    order = {"blocker": 0, "decision": 1, "warning": 2, "info": 3}
    rows = [
        (each.severity.value, each.code, each.subject, " ".join(filter(None, (each.text, each.remedy))))
        for each in sorted(findings, key=lambda one: order[one.severity.value])
    ]
    return Table(("SEVERITY", "CODE", "SUBJECT", "WHAT, AND WHAT TO DO"), tuple(rows), title)


def mapping_table(mapping: Mapping) -> Table:
    """Return what stands for what at the target, who chose it, and what is not the same."""
    rows = tuple(
        (
            choice.construct.value.replace("_", " "),
            choice.source,
            choice.target,
            "you" if choice.given else choice.reason or "proposed",
            "; ".join(choice.differences),
        )
        for choice in mapping.choices
    )
    return Table(("CONSTRUCT", "SOURCE", "TARGET", "CHOSEN", "DIFFERENCES"), rows, "Mapping")


def phase_times(phases: tuple[Phase, ...], total_seconds: float) -> Table:
    """Return the eight phases with when they began and how long they took."""
    known = {phase.name: phase for phase in phases}
    begin = min((phase.started for phase in phases), default=0.0)
    rows = [_phase(name, known.get(name), begin) for name in PHASES]
    # Intervals may overlap: the total is wall time, never the sum.
    rows.append(("total (wall time)", "", seconds_text(total_seconds)))
    return Table(("PHASE", "BEGAN", "TOOK"), tuple(rows), "Phases", right=frozenset({"BEGAN", "TOOK"}))


def _phase(name: str, phase: Phase | None, begin: float) -> tuple[str, str, str]:
    if phase is None:
        return (name, "", "not reached")
    if phase.merged_into:
        return (name, "", f"in {phase.merged_into}")
    return (name, f"+{phase.started - begin:.1f} s", seconds_text(phase.seconds))


def _summary(report: MigrationReport) -> Table:
    request = report.request
    what = f"{request.vm} from {request.source} to {request.target}"
    outage = seconds_text(report.outage_s) if report.outage_s is not None else "not measured"
    return fields(
        f"Run {report.run}",
        ("what", ("test of " if request.test else "") + what),
        ("mode", request.mode.value),
        ("outcome", report.outcome.value),
        ("why", report.text),
        ("code", report.code),
        ("outage", "none: the source was not touched" if request.test else outage),
        ("tenants", _tenants(report)),
        ("sealed", _sealed(report)),
        ("verified", report.verified),
        ("guest at the source", report.surveyed.words() if report.surveyed else ""),
        ("guest", _inspected(report)),
        ("disks", _consistency(report)),
        ("estimate", report.estimate.basis if report.estimate else ""),
        ("VM at the target", report.vm_id),
        ("VM at the source", report.source_id),
    )


def _tenants(report: MigrationReport) -> str:
    """Return who the run's tenant is at the partner whose cloud is one of its ends."""
    own = report.request.tenant
    return "; ".join(
        f"{cloud}: tenant {own} of this site is tenant {there} there"
        for cloud, there in sorted(report.tenants.items())
    )


def _sealed(report: MigrationReport) -> str:
    """Return who certified what was copied, and which steps of the verification it passed."""
    if report.sealed is None:
        return ""
    steps = ", ".join(map(str, dict.fromkeys(one.step for one in report.sealed.steps)))
    return f"by {report.sealed.site} with key {report.sealed.key[:16]}; verified steps {steps}"


def _inspected(report: MigrationReport) -> str:
    """Return what the target's site found in the guest, where its policy asked."""
    found = report.inspected
    return "; ".join((*found.steps, *found.scan_steps)) if found is not None and found.made else ""


def _consistency(report: MigrationReport) -> str:
    """Return how the copy of a running guest was caught; one that was off is as it left itself."""
    told = report.consistency
    return told.value if told and told is not Consistency.OFF else ""


def _bytes(report: MigrationReport) -> Table:
    headers = ("ARTIFACT", "SIZE", "READ", "SENT", "WRITTEN")
    figures = [
        [each.size, each.counters.read, each.counters.sent, each.counters.written] for each in report.moved
    ]
    if any(each.counters.shared for each in report.moved):
        headers = (*headers, "SHARED")
        figures = [[*row, each.counters.shared] for row, each in zip(figures, report.moved, strict=True)]
    names = [each.artifact for each in report.moved]
    if len(figures) > 1:
        figures.append(list(map(sum, zip(*figures, strict=True))))
        names.append("all")
    rows = [(name, *map(size_text, sizes)) for name, sizes in zip(names, figures, strict=True)]
    return Table(headers, tuple(rows), "Bytes", right=frozenset(headers[1:]))


def _syncs(syncs: tuple[Sync, ...]) -> Table:
    owes = any(sync.owed for sync in syncs)
    rows = tuple(
        (
            sync.what,
            sync.consistency.value,
            f"+{sync.started - syncs[0].started:.1f} s",
            seconds_text(sync.seconds),
            size_text(sync.read),
            size_text(sync.sent),
            *((size_text(sync.owed),) if owes else ()),
        )
        for sync in syncs
    )
    headers = ("SYNC", "DISKS", "BEGAN", "TOOK", "READ", "SENT", *(("OWED",) if owes else ()))
    return Table(headers, rows, "Syncs", right=frozenset(headers[2:]))


def _estimate(report: MigrationReport, estimate: Estimate) -> Table:
    read = sum(each.counters.read for each in report.moved)
    rows = (
        (
            "time",
            seconds_text(estimate.seconds),
            seconds_text(report.total_seconds),
            _off(estimate.seconds, report.total_seconds),
        ),
        (
            "outage",
            seconds_text(estimate.outage_s),
            seconds_text(report.outage_s) if report.outage_s is not None else "",
            _off(estimate.outage_s, report.outage_s),
        ),
        ("data", size_text(estimate.size), size_text(read), _off(estimate.size, read)),
    )
    headers = ("", "ESTIMATE", "ACTUAL", "OFF BY")
    return Table(headers, rows, "Estimate against actual", right=frozenset(headers[1:]))


def _off(expected: float, actual: float | None) -> str:
    """Return by how much the estimate was more (+) or less than what happened."""
    return f"{(expected / actual - 1) * 100:+.0f} %" if actual else ""


def _health(report: MigrationReport) -> Table:
    health = report.health
    rows = tuple(
        (
            f"{result.probe.kind.value} {result.probe.port or result.probe.expect}",
            "good" if result.good else "bad",
            result.text,
        )
        for result in (health.results if health else ())
    )
    return Table(("CHECK", "VERDICT", "SEEN"), rows, "Health at the target")
