"""One small migration as all examples of the API's description tell it."""

from typing import Any

from crossport.model import codec
from crossport.model.construct import Constructs, Flavor, Image, KeyPair, Network, Quota, SecurityGroup
from crossport.model.finding import Finding, Severity
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.limit import LinkLimit, RateWindow
from crossport.model.mapping import Choice, Construct, Mapping, MappingRules
from crossport.model.plan import Plan, PlanCheck, PlannedVM, PlanStatus, VmStatus
from crossport.model.request import (
    Assessment,
    CloudEntry,
    CloudStatus,
    DryRun,
    Evidence,
    Verdict,
    VmAssessment,
    VmRequest,
)
from crossport.model.run import (
    Created,
    Estimate,
    Event,
    EventKind,
    LedgerState,
    MigrationReport,
    MigrationRequest,
    Phase,
    RunRecord,
    RunState,
)
from crossport.model.vm import VM, Disk, Nic, PowerState
from crossport.spi.site import Cleaned
from crossport.units import GIB, MIB

__all__ = [
    "ASSESSMENT",
    "CLEANED",
    "CLOUD",
    "CLOUD_STATUS",
    "CONSTRUCTS",
    "CREATED",
    "DRY_RUN",
    "EVENT",
    "EVIDENCE",
    "IMAGE",
    "LINK_LIMIT",
    "PLAN",
    "PLAN_CHECK",
    "PLAN_STATUS",
    "REPORT",
    "REQUEST",
    "RUN",
    "VM_REQUEST",
    "WEB",
    "page_of",
    "shown",
]

NOON = 1795262400.0
"""21 November 2026, 12:00 UTC, in Unix seconds: the examples' present."""

CLOUD = CloudEntry(name="alpha", driver="memory", settings={"vms": "web"})
CLOUD_STATUS = CloudStatus(entry=CLOUD, good=True, text="answers", abilities=("Exporter", "Importer"))
IMAGE = Image(id="3f0c", name="debian-12", format="qcow2", size=2 * GIB)
WEB = VM(
    id="vm-web",
    name="web",
    project="shop",
    zone="z1",
    flavor="small",
    cpus=1,
    memory=256 * MIB,
    power=PowerState.RUNNING,
    disks=(Disk(id="vol-1", name="root", size=GIB, boot=True, allocated=120 * MIB),),
    nics=(Nic(mac="52:54:00:12:34:56", network="lan", addresses=("10.0.0.5/24",)),),
    keys=("ops",),
)
VM_REQUEST = VmRequest(name="web-2", image="debian-12", flavor="small", networks=("lan",))
CONSTRUCTS = Constructs(
    cloud="beta",
    project="shop",
    zones=("z1",),
    flavors=(Flavor(name="small", cpus=1, memory=256 * MIB),),
    networks=(Network(name="lan", cidr="10.1.0.0/24"),),
    security_groups=(SecurityGroup(name="default"),),
    keys=(KeyPair(name="ops", public_key="ssh-ed25519 AAAA… ops", fingerprint="SHA256:…"),),
    storage_classes=("standard",),
    free=Quota(vms=9, cpus=15, memory=28 * GIB, disk=180 * GIB),
    disk_free=90 * GIB,
)
FINDING = Finding("nic.mac.kept", Severity.INFO, "nic 0", "The MAC address is kept.")
ESTIMATE = Estimate(seconds=48.0, outage_s=41.0, size=120 * MIB, basis="probe of 8 MiB at 310 Mbit/s")
MAPPING = Mapping((Choice(construct=Construct.NETWORK, source="lan", target="office", given=True),))
REQUEST = MigrationRequest(
    vm="web",
    source="alpha",
    target="beta",
    rules=MappingRules(networks={"lan": "office"}),
    checks=HealthChecks(probes=(Probe(kind=ProbeKind.HTTP, port=80),)),
)
RUN = RunRecord(
    id="run-0001",
    kind="migrate",
    tenant="default",
    state=RunState.RUNNING,
    subject="web",
    created=NOON,
    started=NOON,
    epoch=1,
    node="node-1",
    labels={"source": "alpha", "target": "beta"},
)
PHASE = Phase(name="image_upload", started=NOON + 9, seconds=17.2)
EVENT = Event(kind=EventKind.PHASE_FINISHED, phase=PHASE, number=11, time=NOON + 26.2)
REPORT = MigrationReport(
    run="run-0001",
    request=REQUEST,
    outcome=RunState.DONE,
    phases=(PHASE,),
    total_seconds=46.1,
    outage_s=39.8,
    findings=(FINDING,),
    mapping=MAPPING,
    estimate=ESTIMATE,
    verified="at rest",
    source_id="vm-web",
    vm_id="vm-9",
)
CREATED = Created(
    run="run-0001", cloud="beta", kind="volume", name="run-0001-disk-0", id="vol-7", state=LedgerState.KEPT
)
CLEANED = Cleaned(removed=("volume run-0001-disk-0 in beta",))
EVIDENCE = Evidence(
    run=RUN,
    statements=("alpha: stopped and fenced, epoch 1",),
    ledger=(CREATED,),
    source_vm=WEB,
    target_vm=None,
    advice="The target never started it: resolve as source.",
)
DRY_RUN = DryRun(
    vm=WEB,
    source="alpha",
    target="beta",
    findings=(FINDING,),
    mapping=MAPPING,
    estimate=ESTIMATE,
    verdict=Verdict.GO,
)
ASSESSMENT = Assessment(
    cloud="alpha",
    target="beta",
    made=NOON,
    vms=(VmAssessment(vm=WEB, verdict=Verdict.GO, findings=(FINDING,), estimate=ESTIMATE),),
)
LINK_LIMIT = LinkLimit(
    source="alpha",
    target="beta",
    windows=(RateWindow(start="08:00", end="18:00", rate_bps=100_000_000),),
    zone="Europe/Berlin",
)
PLAN = Plan(
    name="shop",
    source="alpha",
    target="beta",
    vms=(PlannedVM(vm="web"),),
    approval=True,
)
PLAN_CHECK = PlanCheck(
    plan="shop", findings={"web": (FINDING,)}, estimates={"web": ESTIMATE}, waves=(("web",),)
)
PLAN_STATUS = PlanStatus(
    plan=PLAN,
    run="run-0002",
    state=RunState.RUNNING,
    vms=(VmStatus(vm="web", wave=1, state=RunState.RUNNING, run="run-0003"),),
)


def shown(value: object) -> Any:
    """Return ``value`` as the API writes it."""
    return codec.plain(value)


def page_of(value: object) -> dict[str, Any]:
    """Return a page that holds ``value`` alone."""
    return {"items": [shown(value)], "next": ""}
