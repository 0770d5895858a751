"""Plans: several VMs, in waves, with mappings, windows and approvals."""

from collections.abc import Mapping as Table
from dataclasses import field
from typing import Annotated

from pydantic import Field

from crossport.model.finding import Finding
from crossport.model.health import HealthChecks
from crossport.model.mapping import MappingRules
from crossport.model.name import Moment, Name
from crossport.model.record import record
from crossport.model.run import Cutover, Estimate, Mode, RunState, Verify

__all__ = ["Plan", "PlanCheck", "PlanStatus", "PlannedVM", "PlannedWarm", "VmStatus", "Window"]


@record()
class Window:
    """When migrations may begin: between two times of day (``HH:MM``, UTC) on the given weekdays."""

    days: tuple[str, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start: str = "00:00"
    end: str = "24:00"


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@record()
class PlannedWarm:
    """How VMs of mode warm go over, as in `crossport.model.run.WarmRules`; None and empty say nothing."""

    max_outage_s: Seconds | None = None
    cutover: Cutover | None = None
    cutover_at: Moment = ""
    interval_s: Seconds | None = None
    deadline_s: Seconds | None = None
    verify: Verify | None = None


@record()
class PlannedVM:
    """One VM of a plan. ``after`` names VMs that must be done before this one begins."""

    vm: str
    after: tuple[str, ...] = ()
    wave: int = 1
    name: str = ""
    mode: Mode | None = None
    rules: MappingRules = field(default_factory=MappingRules)
    checks: HealthChecks | None = None
    warm: PlannedWarm = PlannedWarm()
    accept: tuple[str, ...] = ()


@record()
class Plan:
    """Several VMs that move from ``source`` to ``target``. Version of the file format: 1.

    ``rules`` and ``warm`` hold for every VM, a VM's own win. ``approval`` asks a person before each cutover.
    ``stop_on_failure`` starts no further VM after a failed one; VMs that depend on it never start.
    """

    name: Name
    source: str
    target: str
    vms: tuple[PlannedVM, ...]
    version: int = 1
    mode: Mode = Mode.COLD
    rules: MappingRules = field(default_factory=MappingRules)
    checks: HealthChecks = field(default_factory=HealthChecks)
    warm: PlannedWarm = PlannedWarm()
    accept: tuple[str, ...] = ()
    approval: bool = False
    require_test: bool = False
    window: Window | None = None
    stop_on_failure: bool = False
    concurrency: int = 2
    power_off: bool = False


@record()
class VmStatus:
    """One VM of a running plan; ``run`` is empty before it starts."""

    vm: str
    wave: int
    state: RunState
    run: str = ""
    text: str = ""


@record()
class PlanCheck:
    """What a plan would meet: findings and estimate per VM. Nothing was written."""

    plan: str
    findings: Table[str, tuple[Finding, ...]]
    estimates: Table[str, Estimate]
    waves: tuple[tuple[str, ...], ...]


@record()
class PlanStatus:
    """A plan and how far it is."""

    plan: Plan
    run: str
    state: RunState
    vms: tuple[VmStatus, ...]
