"""Say beforehand what a migration would do, or whether any VM of a cloud could go: nothing is written."""

from dataclasses import replace

from crossport import errors
from crossport.certify.policy import Exporter
from crossport.migration.estimate import predicted
from crossport.migration.finding import export_point, source_findings, standing, target_findings
from crossport.migration.gateway_finding import link_findings
from crossport.migration.mapping import propose
from crossport.migration.partner_finding import partner_finding
from crossport.migration.parts import Parts
from crossport.migration.policy_finding import policy_findings
from crossport.migration.step import Proposed
from crossport.migration.survey import STOPPED
from crossport.migration.surveying import memory_findings, survey_findings, survey_rule
from crossport.migration.warm_finding import check_rules, warm_findings
from crossport.model.artifact import ExportPoint
from crossport.model.finding import Finding, Severity
from crossport.model.health import ProbeKind
from crossport.model.mapping import Mapping
from crossport.model.name import parted
from crossport.model.request import Assessment, DryRun, Verdict, VmAssessment
from crossport.model.run import MigrationRequest
from crossport.model.vm import VM, PowerState
from crossport.spi.site import Description

__all__ = ["assess", "dry_run", "in_order", "judged", "verdict"]

BASELINE_S = 10.0
"""How long the source's guest may take to show that it is well before anything is touched."""


async def judged(
    request: MigrationRequest, source: Description, target: Description, parts: Parts
) -> Proposed:
    """Return what ``request`` would do between these two ends. Writes nothing."""
    vm = _vm(request, source)
    point = export_point(request, vm)
    mapping, mapped = propose(
        vm,
        source.constructs,
        target.constructs,
        request.rules,
        memory_kept=point is ExportPoint.SUSPENDED,
    )
    moving = sum(disk.size for disk in vm.disks if not disk.seed)
    moving += vm.memory if point is ExportPoint.SUSPENDED else 0
    hooks = tuple(
        Finding(
            "hook.unknown",
            Severity.BLOCKER,
            f"hook {name}",
            f"No operator registered a hook named {name}.",
            "Register it in the site's settings, or leave it out.",
        )
        for name in parts.hooks.unknown(request.hooks)
    )
    estimate = await parts.estimator.estimate(vm, request)
    site, cloud = (await parts.site(request.source)).name, parted(request.source)[0]
    survey = survey_rule(request, source, target.policy, site)
    stopped = () if point is ExportPoint.SNAPSHOT else (STOPPED,)
    checks = (*stopped, *(survey.checks if survey.made else ()))
    exporter = Exporter(site, cloud, source.seal_keys, checks)
    findings = (
        *source_findings(vm, source, point),
        *link_findings(await parts.passage(request.source, request.target)),
        *warm_findings(vm, request, source, estimate, parts.clock.wall()),
        *target_findings(vm, request, target, moving),
        *policy_findings(target, exporter, vm),
        *survey_findings(request, source, survey),
        *(memory_findings(vm, survey, target.policy) if point is ExportPoint.SUSPENDED else ()),
        *mapped,
        *hooks,
        *await _baseline(vm, request, source, parts),
        *source.findings,
        *target.findings,
    )
    return Proposed(
        vm=vm,
        point=point,
        mapping=mapping,
        findings=findings,
        estimate=estimate,
        moving=moving,
        tracks="ChangeTracker" in source.abilities,
        survey=survey,
    )


async def _baseline(
    vm: VM, request: MigrationRequest, source: Description, parts: Parts
) -> tuple[Finding, ...]:
    """Ask the source's guest first: a check that fails here proves nothing at the target."""
    probes = request.checks.probes
    if parted(request.source)[1]:  # a partner lets nobody type in a VM that is not a copy of his
        probes = tuple(probe for probe in probes if probe.kind is not ProbeKind.COMMAND)
    if not probes or vm.power is not PowerState.RUNNING or "Prober" not in source.abilities:
        return ()
    once = replace(
        request.checks, probes=probes, successes=1, timeout_s=min(BASELINE_S, request.checks.timeout_s)
    )
    health = await (await parts.site(request.source)).check(request.source, vm.id, once)
    return tuple(
        Finding(
            "check.baseline",
            Severity.DECISION,
            f"check {result.probe.kind} {result.probe.port or result.probe.expect}",
            f"It fails at the source already: {result.text.rstrip('.')}.",
            "Correct the check or the guest, or accept it with --accept check.baseline.",
        )
        for result in health.results
        if not result.good
    )


def verdict(findings: tuple[Finding, ...], accept: tuple[str, ...] = ()) -> Verdict:
    """Return whether a VM with these findings can go, needs something first, or cannot.

    A decision, and a blocker that names a remedy within the owner's reach, is something to fix.
    """
    stop = standing(findings, accept)
    if not stop:
        return Verdict.GO
    hopeless = any(
        finding.severity is Severity.BLOCKER and finding.code.endswith(".ability.none") for finding in stop
    )
    return Verdict.REFUSE if hopeless else Verdict.FIX


def in_order(request: MigrationRequest) -> MigrationRequest:
    """Return the request; raise Invalid, with the field, when it contradicts itself."""
    if request.source == request.target:
        raise errors.Invalid(
            "migrate.same-cloud",
            f"Source and target are both {request.source}.",
            field="target",
            remedy="Choose two clouds.",
        )
    check_rules(request.warm)
    return request


async def dry_run(request: MigrationRequest, parts: Parts) -> DryRun:
    """Return what ``request`` would do."""
    source = await _described(parts, "source", request.source, request.vm)
    target = await _target(parts, request.target)
    if isinstance(target, Finding):
        found = await _without_target(request, source, target, parts)
    else:
        found = await judged(request, source, target, parts)
    return DryRun(
        vm=found.vm,
        source=request.source,
        target=request.target,
        findings=found.findings,
        mapping=found.mapping,
        estimate=found.estimate,
        verdict=verdict(found.findings, request.accept),
    )


async def _target(parts: Parts, cloud: str) -> Description | Finding:
    """Describe the target, or return what keeps its site from doing so, if that is a partner."""
    try:
        return await _described(parts, "target", cloud)
    except errors.Error as error:
        finding = partner_finding(cloud, error)
        if finding is None:
            raise
        return finding


async def _without_target(
    request: MigrationRequest, source: Description, finding: Finding, parts: Parts
) -> Proposed:
    """Return what can be said without the target: that nothing can be proposed, and why."""
    vm = _vm(request, source)
    point = export_point(request, vm)
    return Proposed(
        vm=vm,
        point=point,
        mapping=Mapping(),
        findings=(finding, *source_findings(vm, source, point), *source.findings),
        estimate=await parts.estimator.estimate(vm, request),
        moving=0,
    )


def _vm(request: MigrationRequest, source: Description) -> VM:
    if source.vm is None:
        raise errors.NotFound(
            "vm.unknown",
            f"The source did not describe {request.vm}.",
            field="vm",
            remedy=f"List them with: crossport vm list {request.source}",
        )
    return source.vm


async def _described(parts: Parts, field: str, cloud: str, vm: str = "") -> Description:
    """Describe one end; a cloud that is not known is told by the ``field`` in which a person named it."""
    try:
        return await (await parts.site(cloud)).describe(cloud, vm)
    except errors.NotFound as error:
        if error.field != "cloud":
            raise
        raise errors.NotFound(error.code, error.text, remedy=error.remedy, field=field) from error


async def assess(source: str, target: str, vms: tuple[VM, ...], parts: Parts) -> Assessment:
    """Judge every VM of ``source``; with a ``target``, also how it would fit there."""
    # Described as the source of one of them: so it tells of the gateway that reads.
    here = await _described(parts, "source", source, vms[0].id if vms else "")
    there = await _target(parts, target) if target else None
    rows: list[VmAssessment] = []
    for vm in vms:
        request = MigrationRequest(vm=vm.id, source=source, target=target or source)
        if isinstance(there, Finding):
            found = await _without_target(request, _about(here, vm), there, parts)
            findings, estimate = found.findings, found.estimate
        elif there is None:
            findings, estimate = source_findings(vm, here, None), predicted(vm, request, None)
        else:
            found = await judged(request, _about(here, vm), there, parts)
            findings, estimate = found.findings, found.estimate
        rows.append(VmAssessment(vm=vm, verdict=verdict(findings), findings=findings, estimate=estimate))
    return Assessment(cloud=source, target=target, made=parts.clock.wall(), vms=tuple(rows))


def _about(here: Description, vm: VM) -> Description:
    return replace(here, vm=vm, policy=None)
