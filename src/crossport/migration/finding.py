"""What stands in the way of a migration, found before anything is touched.

Pure: both ends' descriptions in, findings out. Codes are stable and documented in docs/reference.
"""

from collections.abc import Iterable

from crossport.model.artifact import ExportPoint
from crossport.model.construct import Constructs
from crossport.model.finding import Finding, Severity
from crossport.model.health import ProbeKind
from crossport.model.run import MigrationRequest, Mode
from crossport.model.vm import VM, PowerState, name_fault
from crossport.spi.site import Description
from crossport.units import size_text

__all__ = ["export_point", "source_findings", "standing", "target_findings"]


def export_point(request: MigrationRequest, vm: VM) -> ExportPoint:
    """Return which state of ``vm`` the request exports."""
    if request.test:
        return ExportPoint.SNAPSHOT
    if request.mode is Mode.SUSPEND:
        return ExportPoint.SUSPENDED
    return ExportPoint.STOPPED


def standing(findings: Iterable[Finding], accept: Iterable[str]) -> tuple[Finding, ...]:
    """Return the findings that still stop the migration: blockers, and decisions nobody answered."""
    answered = set(accept)
    return tuple(
        finding
        for finding in findings
        if finding.severity is Severity.BLOCKER
        or (finding.severity is Severity.DECISION and finding.code not in answered)
    )


def source_findings(vm: VM, source: Description, point: ExportPoint | None) -> tuple[Finding, ...]:
    """Return what at the source stands in the way; ``point`` None judges the VM for any way to move."""
    subject = f"vm {vm.name}"
    found: list[Finding] = []
    if vm.fenced:
        found.append(
            Finding(
                "vm.fenced",
                Severity.BLOCKER,
                subject,
                f"{vm.name} is fenced: an earlier run moved it, or is moving it.",
                "See crossport run list; retire it, or roll that run back.",
            )
        )
    if vm.busy:
        found.append(
            Finding(
                "vm.busy",
                Severity.BLOCKER,
                subject,
                f"The cloud is working on {vm.name}: {vm.busy}.",
                "Wait until it is done and try again.",
            )
        )
    if vm.halted:
        found.append(
            Finding(
                "vm.halted",
                Severity.BLOCKER,
                subject,
                f"{vm.name} has its power on, but stands still: {vm.halted}.",
                "See to that and start it, so that it goes on; or power it off to move what its disks hold.",
            )
        )
    if vm.special:
        found.append(
            Finding(
                "vm.special",
                Severity.BLOCKER,
                subject,
                f"{vm.name} has what no other cloud could be asked for: {', '.join(vm.special)}.",
                "Change that at the source first.",
            )
        )
    if point is not None:
        found.extend(_point_findings(vm, source, point))
    found.extend(_ability_findings(source, ("Exporter", "Fencer", "Power", "GatewayHost"), "source"))
    found.extend(_disk_findings(vm))
    found.extend(_floating_findings(vm))
    return tuple(found)


def _floating_findings(vm: VM) -> list[Finding]:
    return [
        Finding(
            "nic.floating.left",
            Severity.WARNING,
            f"nic {index}",
            f"{address} leads to {vm.name} at the source, and stays there.",
            "Give the new one an address of its cloud that leads to it, and point names and clients to that.",
        )
        for index, nic in enumerate(vm.nics)
        for address in nic.floating
    ]


def _point_findings(vm: VM, source: Description, point: ExportPoint) -> list[Finding]:
    found: list[Finding] = []
    if point not in source.points:
        found.append(
            Finding(
                "source.export.unable",
                Severity.BLOCKER,
                f"cloud {source.constructs.cloud}",
                f"{source.constructs.cloud} cannot export a VM that is {point}.",
                "Choose another --mode.",
            )
        )
    if point is ExportPoint.SUSPENDED and vm.power is PowerState.STOPPED:
        found.append(
            Finding(
                "vm.suspend.stopped",
                Severity.BLOCKER,
                f"vm {vm.name}",
                f"{vm.name} is off, so there is no memory to keep.",
                "Use --mode cold.",
            )
        )
    if point is ExportPoint.STOPPED and vm.power is PowerState.SUSPENDED:
        found.append(
            Finding(
                "vm.memory.lost",
                Severity.DECISION,
                f"vm {vm.name}",
                f"{vm.name} is suspended; a cold migration would lose its memory.",
                "Use --mode suspend, or start it first, or accept it with --accept vm.memory.lost.",
            )
        )
    return found


def _disk_findings(vm: VM) -> list[Finding]:
    found: list[Finding] = []
    if not [disk for disk in vm.disks if not disk.seed]:
        found.append(
            Finding(
                "vm.disk.none",
                Severity.BLOCKER,
                f"vm {vm.name}",
                f"{vm.name} has no disk to copy.",
                "Only VMs with at least one disk of their own can move.",
            )
        )
    for disk in vm.disks:
        subject = f"disk {disk.name}"
        if disk.used_by:
            found.append(
                Finding(
                    "disk.shared",
                    Severity.BLOCKER,
                    subject,
                    f"{disk.name} of {vm.name} is also used by {', '.join(disk.used_by)}.",
                    "Detach it there, or copy it first.",
                )
            )
        if disk.snapshots:
            found.append(
                Finding(
                    "disk.snapshots",
                    Severity.DECISION,
                    subject,
                    f"{disk.name} has snapshots ({', '.join(disk.snapshots)}); only its present state moves.",
                    "Delete them, or accept that they stay behind with --accept disk.snapshots.",
                )
            )
        if disk.backing:
            found.append(
                Finding(
                    "disk.backing",
                    Severity.DECISION,
                    subject,
                    f"{disk.name} is a layer over {disk.backing}; it arrives as one whole disk.",
                    "Accept the flattening with --accept disk.backing.",
                )
            )
        if disk.seed:
            found.append(
                Finding(
                    "disk.seed.left",
                    Severity.WARNING,
                    subject,
                    f"{disk.name} is a cidata volume; it stays behind and the target makes its own seed.",
                    "Put what the guest still needs of it into the guest.",
                )
            )
    return found


def target_findings(
    vm: VM, request: MigrationRequest, target: Description, moving: int
) -> tuple[Finding, ...]:
    """Return what at the target stands in the way of ``moving`` bytes of artifacts becoming a VM there."""
    constructs = target.constructs
    name = request.name or vm.name
    found = [
        *_ability_findings(target, ("Importer", "GatewayHost"), "target"),
        *_room_findings(vm, constructs, moving),
    ]
    if fault := name_fault(name):
        found.append(
            Finding(
                "target.name.unusable",
                Severity.BLOCKER,
                f"vm {name!r}",
                f"Its name {fault}, and would be refused at {constructs.cloud}.",
                "Give the new one another name with --name.",
            )
        )
    if name in target.names and not request.test:
        found.append(
            Finding(
                "target.name.taken",
                Severity.BLOCKER,
                f"vm {name}",
                f"{constructs.cloud} already has a VM named {name}.",
                "Give the new one another name with --name.",
            )
        )
    if vm.tpm and not constructs.tpm:
        found.append(
            Finding(
                "target.tpm.none",
                Severity.BLOCKER,
                f"vm {vm.name}",
                f"{vm.name} has a TPM, and {constructs.cloud} offers none.",
                "Choose another target; what the guest sealed to its TPM would be lost.",
            )
        )
    found.extend(
        Finding("target.not-enforced", Severity.INFO, f"cloud {constructs.cloud}", note)
        for note in constructs.notes
    )
    found.extend(_check_findings(request, name))
    return tuple(found)


def _check_findings(request: MigrationRequest, name: str) -> list[Finding]:
    if not request.checks.probes:
        return [
            Finding(
                "check.none",
                Severity.WARNING,
                f"vm {name}",
                "No health check is declared: the migration commits when the hypervisor says that it runs.",
                "Declare one with --check http:80:/ or --check tcp:22.",
            )
        ]
    if request.mode is not Mode.SUSPEND or request.test:
        return []
    return [
        Finding(
            "check.console.memory",
            Severity.DECISION,
            f"check console {probe.expect}",
            "The guest wakes up with its memory and does not print again what it printed before the move.",
            "Ask the guest itself with --check command:, tcp: or http:; if it prints this again and again, "
            "accept it with --accept check.console.memory.",
        )
        for probe in request.checks.probes
        if probe.kind is ProbeKind.CONSOLE
    ]


def _ability_findings(end: Description, wanted: tuple[str, ...], word: str) -> list[Finding]:
    return [
        Finding(
            f"{word}.ability.none",
            Severity.BLOCKER,
            f"cloud {end.constructs.cloud}",
            f"{end.constructs.cloud} lacks what a migration needs of its {word}: {ability}.",
            "Its driver cannot do this.",
        )
        for ability in wanted
        if ability not in end.abilities
    ]


def _room_findings(vm: VM, constructs: Constructs, moving: int) -> list[Finding]:
    rows = (
        ("vms", 1, constructs.free.vms, str),
        ("cpus", vm.cpus, constructs.free.cpus, str),
        ("memory", vm.memory, constructs.free.memory, size_text),
        ("disk", moving, constructs.free.disk, size_text),
    )
    found = [
        Finding(
            f"target.quota.{what}",
            Severity.BLOCKER,
            f"project {constructs.project}",
            f"The migration needs {text(wanted)} of {what}; the quota at {constructs.cloud} "
            f"leaves {text(max(free, 0))}.",
            "Ask the target's operator for more, or remove what is not needed there.",
        )
        for what, wanted, free, text in rows
        if wanted > free
    ]
    if moving > constructs.disk_free:
        found.append(
            Finding(
                "target.disk.full",
                Severity.BLOCKER,
                f"cloud {constructs.cloud}",
                f"The disks need {size_text(moving)}; {constructs.cloud} has "
                f"{size_text(constructs.disk_free)} left.",
                "Free space there, or choose another target.",
            )
        )
    return found
