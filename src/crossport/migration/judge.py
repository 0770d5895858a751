"""Say beforehand what a migration would do, or whether any VM of a cloud could go: nothing is written."""

from crossport.migration.cold import judged
from crossport.migration.estimate import predicted
from crossport.migration.finding import source_findings, standing
from crossport.migration.parts import Parts
from crossport.model.finding import Finding, Severity
from crossport.model.request import Assessment, DryRun, Verdict, VmAssessment
from crossport.model.run import MigrationRequest
from crossport.model.vm import VM
from crossport.spi.site import Description

__all__ = ["assess", "dry_run", "verdict"]


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


async def dry_run(request: MigrationRequest, parts: Parts) -> DryRun:
    """Return what ``request`` would do."""
    source = await (await parts.site(request.source)).describe(request.source, request.vm)
    target = await (await parts.site(request.target)).describe(request.target)
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


async def assess(source: str, target: str, vms: tuple[VM, ...], parts: Parts) -> Assessment:
    """Judge every VM of ``source``; with a ``target``, also how it would fit there."""
    here = await (await parts.site(source)).describe(source)
    there = await (await parts.site(target)).describe(target) if target else None
    rows: list[VmAssessment] = []
    for vm in vms:
        request = MigrationRequest(vm=vm.id, source=source, target=target or source)
        if there is None:
            findings, estimate = source_findings(vm, here, None), predicted(vm, request, None)
        else:
            found = await judged(request, _about(here, vm), there, parts)
            findings, estimate = found.findings, found.estimate
        rows.append(VmAssessment(vm=vm, verdict=verdict(findings), findings=findings, estimate=estimate))
    return Assessment(cloud=source, target=target, made=parts.clock.wall(), vms=tuple(rows))


def _about(here: Description, vm: VM) -> Description:
    return Description(
        constructs=here.constructs,
        abilities=here.abilities,
        points=here.points,
        names=here.names,
        vm=vm,
        findings=here.findings,
    )
