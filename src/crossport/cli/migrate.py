"""`crossport migrate`: move one VM, or say what moving it would do."""

from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.cli.parameter import Many, hooks, moment, pairs, probes
from crossport.cli.report import finding_table, mapping_table, report_tables
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.cli.watch import exit_status, how_to_go_on, watch
from crossport.client import calls
from crossport.model.finding import Severity
from crossport.model.health import HealthChecks
from crossport.model.mapping import MappingRules
from crossport.model.request import DryRun
from crossport.model.run import CommitRule, Cutover, MigrationRequest, Mode, RunState, Verify, WarmRules
from crossport.units import seconds_text, size_text

__all__ = ["migrate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From where to where, and how."""

    source: Annotated[str, Parameter(name="--from", help="The cloud the VM is in.")]
    target: Annotated[str, Parameter(name="--to", help="The cloud it moves to.")]
    name: Annotated[str, Parameter(help="What it is called at the target.", show_default=False)] = ""
    mode: Annotated[
        Mode, Parameter(help="cold shuts the guest down; suspend keeps its memory; warm copies it first.")
    ] = Mode.COLD
    test: Annotated[
        bool, Parameter(negative=(), help="Only a copy in an isolated network; the source runs on.")
    ] = False
    dry_run: Annotated[bool, Parameter(negative=(), help="Only say what it would do. Writes nothing.")] = (
        False
    )
    detach: Annotated[bool, Parameter(negative=(), help="Do not watch: return when the run began.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stands for what at the target; what is left out is proposed."""

    project: Annotated[str, Parameter(help="The target's project.", show_default=False)] = ""
    zone: Annotated[str, Parameter(help="The target's zone.", show_default=False)] = ""
    flavor: Annotated[str, Parameter(help="The target's flavor.", show_default=False)] = ""
    map_network: Annotated[Many, Parameter(help="A network, SOURCE=TARGET; repeatable.")] = ()
    map_group: Annotated[Many, Parameter(help="A security group, SOURCE=TARGET; repeatable.")] = ()
    map_key: Annotated[Many, Parameter(help="A key pair, SOURCE=TARGET; repeatable.")] = ()
    map_storage: Annotated[Many, Parameter(help="A storage class, SOURCE=TARGET; repeatable.")] = ()
    address: Annotated[Many, Parameter(help="The address of a NIC at the target, MAC=IP; repeatable.")] = ()
    keep_mac: Annotated[bool, Parameter(help="Keep the MAC addresses.")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How carefully: checks, commit, what may be done to the source."""

    check: Annotated[
        Many,
        Parameter(
            help="What must answer: tcp:PORT, http:PORT:/PATH[:TEXT], console:TEXT, or "
            "command:TEXT[=EXPECT], typed at the root shell on the serial console "
            "(end with = if TEXT holds one); repeatable."
        ),
    ] = ()
    check_timeout: Annotated[float, Parameter(help="Seconds within which all checks must succeed.")] = 180.0
    accept: Annotated[Many, Parameter(help="The code of a decision you agree to; repeatable.")] = ()
    commit: Annotated[CommitRule, Parameter(help="Who says commit: the health check, or you.")] = (
        CommitRule.AUTO
    )
    commit_deadline: Annotated[float, Parameter(help="Seconds you have for it; then it rolls back.")] = (
        86400.0
    )
    shutdown: Annotated[float, Parameter(help="Seconds the guest has for its shutdown.")] = 90.0
    power_off: Annotated[bool, Parameter(negative=(), help="Pull the plug when these are over.")] = False
    hook: Annotated[
        Many, Parameter(help="A registered hook, before:PHASE:NAME or after:PHASE:NAME; repeatable.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """When a warm migration goes over, and how it is checked."""

    max_outage: Annotated[float, Parameter(help="Seconds the VM may be away.")] = 120.0
    cutover: Annotated[Cutover, Parameter(help="Who says when: the outage that is allowed, or you.")] = (
        Cutover.AUTO
    )
    cutover_at: Annotated[
        str, Parameter(help="When: HH:MM or YYYY-MM-DDTHH:MM, in your zone or +HH:MM.", show_default=False)
    ] = ""
    sync_interval: Annotated[float, Parameter(help="Seconds between two copies while it waits.")] = 300.0
    verify: Annotated[
        Verify,
        Parameter(
            help="rest reads the source once more while the copy starts, repair before that; stream does not."
        ),
    ] = Verify.REST


def migrate(
    vm: str,
    /,
    *,
    route: Annotated[Route, Parameter(name="*")],
    rules: Annotated[Rules, Parameter(name="*")] = Rules(),
    care: Annotated[Care, Parameter(name="*")] = Care(),
    warm: Annotated[Warm, Parameter(name="*")] = Warm(),
    session: Here,
) -> int:
    """Move a VM from one cloud to another.

    Everything that may need you is asked before the first byte moves. The source stays off, fenced and
    retained; before the commit every failure brings it back as it was.

    For example:

      crossport migrate web --from alpha --to beta --dry-run

      crossport migrate web --from alpha --to beta --map-network lan=office --check http:80:/

      crossport migrate web --from alpha --to beta --test

      crossport migrate db --from alpha --to beta --mode suspend --commit manual --detach

      crossport migrate db --from alpha --to beta --mode warm --max-outage 60

    Parameters
    ----------
    vm
        The VM's name or id.
    """
    request = replace(_request(vm, route, rules, care), warm=_warm(warm, session))
    if route.dry_run:
        return _dry_run(session, request)
    run = session.begin(calls.migrate(request, session.machine.new_key()))
    if route.detach:
        session.out.result(run, fields("", ("run", run.id), ("state", run.state.value)))
        session.out.say(how_to_go_on(run.id, run.state))
        return 0
    session.out.say(f"Run {run.id}: {vm} from {route.source} to {route.target}")
    status = watch(session, run.id)
    return _told(session, run.id, status)


def _request(vm: str, route: Route, rules: Rules, care: Care) -> MigrationRequest:
    return MigrationRequest(
        vm=vm,
        source=route.source,
        target=route.target,
        mode=route.mode,
        test=route.test,
        name=route.name,
        rules=MappingRules(
            project=rules.project,
            zone=rules.zone,
            flavor=rules.flavor,
            networks=pairs(rules.map_network, "--map-network"),
            security_groups=pairs(rules.map_group, "--map-group"),
            keys=pairs(rules.map_key, "--map-key"),
            storage_classes=pairs(rules.map_storage, "--map-storage"),
            addresses=pairs(rules.address, "--address"),
            keep_mac=rules.keep_mac,
        ),
        checks=HealthChecks(probes=probes(care.check), timeout_s=care.check_timeout),
        commit=care.commit,
        commit_deadline_s=care.commit_deadline,
        accept=care.accept,
        shutdown_s=care.shutdown,
        power_off=care.power_off,
        hooks=hooks(care.hook),
    )


def _warm(warm: Warm, session: Session) -> WarmRules:
    return WarmRules(
        max_outage_s=warm.max_outage,
        cutover=warm.cutover,
        cutover_at=moment(warm.cutover_at, session.machine.wall(), "--cutover-at")
        if warm.cutover_at
        else 0.0,
        interval_s=warm.sync_interval,
        verify=warm.verify,
    )


def _dry_run(session: Session, request: MigrationRequest) -> int:
    dry = session.send(calls.dry_run(request))
    session.out.result(dry, *dry_tables(dry))
    open_decisions = [
        finding
        for finding in dry.findings
        if finding.severity is Severity.DECISION and finding.code not in request.accept
    ]
    blocked = open_decisions or any(finding.severity is Severity.BLOCKER for finding in dry.findings)
    return errors.Blocked.exit_code if blocked else 0


def dry_tables(dry: DryRun) -> list[Table]:
    """Return what a dry run found."""
    estimate = dry.estimate
    return [
        fields(
            f"{dry.vm.name} from {dry.source} to {dry.target}",
            ("verdict", dry.verdict.value),
            ("time", seconds_text(estimate.seconds)),
            ("outage", seconds_text(estimate.outage_s)),
            ("bytes", size_text(estimate.size)),
            ("basis", estimate.basis),
        ),
        mapping_table(dry.mapping),
        finding_table(dry.findings),
    ]


def _told(session: Session, run: str, status: int) -> int:
    """Print the report of a run that is final."""
    record = session.send(calls.run(run))
    if not record.state.final:
        if session.out.as_json:
            session.out.json(record)
        return status
    report = session.send(calls.report(run))
    session.out.result(report, *report_tables(report))
    if record.state is RunState.DONE and not report.request.test:
        session.out.say(f"The source is retained. Delete it later: `crossport source retire {run}`.")
    if record.state is RunState.DONE and report.request.test:
        session.out.say(f"Remove the copy: `crossport test finish {run}`.")
    return exit_status(record.state)
