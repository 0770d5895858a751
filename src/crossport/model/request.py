"""What people ask a site to do beside migrating one VM, and what they get to read."""

from collections.abc import Mapping as Table
from dataclasses import field
from enum import StrEnum

from crossport.model.construct import KeyPair, Network, Quota
from crossport.model.finding import Finding
from crossport.model.mapping import Construct, Mapping
from crossport.model.name import Name
from crossport.model.record import record
from crossport.model.run import Created, Estimate, RunRecord
from crossport.model.sealing import Admission
from crossport.model.vm import VM

__all__ = [
    "Assessment",
    "CloudEntry",
    "CloudRequest",
    "CloudStatus",
    "DryRun",
    "Evidence",
    "ResolveAs",
    "Verdict",
    "VmAssessment",
    "VmRequest",
]


@record()
class CloudEntry:
    """A cloud as the site knows it. ``settings`` are the driver's; secrets are put apart, by reference.

    A value of the form ``secret:NAME`` refers to a secret.
    """

    name: Name
    driver: str
    settings: Table[str, str] = field(default_factory=dict[str, str])


@record()
class CloudStatus:
    """Whether a cloud answers, what it said, and what its driver can do (names of abilities)."""

    entry: CloudEntry
    good: bool
    text: str
    abilities: tuple[str, ...] = ()


@record()
class CloudRequest:
    """An embedded cloud to be made on the site's machine. Without networks it has one, ``private``.

    ``quota`` None is what such a cloud has by default. ``isolation`` is ``enforced`` (root only), ``user``
    or ``auto``.
    """

    name: Name
    zones: tuple[str, ...] = ("zone-1",)
    networks: tuple[Network, ...] = ()
    keys: tuple[KeyPair, ...] = ()
    quota: Quota | None = None
    isolation: str = "auto"


@record()
class VmRequest:
    """A VM to be made outside any migration: its first disk is a copy of ``image``."""

    name: str
    image: str
    flavor: str
    networks: tuple[str, ...]
    security_groups: tuple[str, ...] = ("default",)
    keys: tuple[str, ...] = ()
    zone: str = ""
    firmware: str = "bios"
    disk_bus: str = "virtio"
    nic_model: str = "virtio"
    tpm: bool = False
    autostart: bool = False
    tags: Table[str, str] = field(default_factory=dict[str, str])


class Verdict(StrEnum):
    """What the assessment says of a VM: it can go, something has to be fixed or decided, or it cannot."""

    GO = "go"
    FIX = "fix"
    REFUSE = "refuse"


@record()
class VmAssessment:
    """One VM of an assessment."""

    vm: VM
    verdict: Verdict
    findings: tuple[Finding, ...]
    estimate: Estimate


@record()
class Assessment:
    """All VMs of a cloud, judged without writing anything. ``made`` is Unix seconds."""

    cloud: str
    target: str
    made: float
    vms: tuple[VmAssessment, ...]


@record()
class DryRun:
    """What a migration would do: findings, proposed mapping, estimate. Nothing was written."""

    vm: VM
    source: str
    target: str
    findings: tuple[Finding, ...]
    mapping: Mapping
    estimate: Estimate
    verdict: Verdict

    @property
    def target_project(self) -> str:
        """Return the project of the target in which the VM would lie."""
        chosen = (each.target for each in self.mapping.choices if each.construct is Construct.PROJECT)
        return next(chosen, "")


class ResolveAs(StrEnum):
    """How a person resolves a run that needs attention."""

    SOURCE = "source"
    """The source is the truth: discard the target's part, release the source."""
    TARGET = "target"
    """The target is the truth: commit."""
    SOURCE_ALONE = "source-alone"
    """Like source, on a person's word that the target's cloud is gone for good."""
    ABANDON = "abandon"
    """Touch nothing any more. The run can be resolved later; ``run clean`` leaves its VM and disks alone."""


@record()
class Evidence:
    """All that both ends know about a run in doubt: its statements, its ledger, the VMs as they are now.

    ``admission`` is what the target's site verified of the sealed image, once one was admitted.
    """

    run: RunRecord
    statements: tuple[str, ...]
    ledger: tuple[Created, ...]
    source_vm: VM | None
    target_vm: VM | None
    advice: str
    admission: Admission | None = None
