"""A run: one execution of a migration, its phases, its events, its ledger and its report."""

from collections.abc import Mapping as Table
from dataclasses import field
from enum import StrEnum

from crossport.model.artifact import Consistency, Moved, Progress
from crossport.model.finding import Finding
from crossport.model.health import Health, HealthChecks
from crossport.model.inspection import Inspected, Surveyed
from crossport.model.mapping import Mapping, MappingRules
from crossport.model.record import record
from crossport.model.sealing import Admission

__all__ = [
    "PHASES",
    "Act",
    "CommitRule",
    "Created",
    "Cutover",
    "Estimate",
    "Event",
    "EventKind",
    "Hook",
    "MigrationReport",
    "MigrationRequest",
    "Mode",
    "Phase",
    "RunRecord",
    "RunState",
    "Sync",
    "Verify",
    "WarmRules",
]

PHASES = (
    "source_authentication",
    "image_creation",
    "image_download",
    "target_authentication",
    "image_upload",
    "security_setup",
    "instantiation",
    "network_setup",
)
"""The eight timed phases of a migration between clouds, in the order in which they are told."""


class Mode(StrEnum):
    """How a VM is moved."""

    COLD = "cold"
    SUSPEND = "suspend"
    WARM = "warm"
    """Copied while it runs, then shut down for the last changes."""


class Cutover(StrEnum):
    """Who says when a warm migration shuts the source down."""

    AUTO = "auto"
    """The rest fits the outage that is allowed."""
    MANUAL = "manual"
    """A person, at any time."""


class Verify(StrEnum):
    """How far a copy is checked before the commit; every chunk is checked on arrival anyway."""

    REST = "rest"
    """The target is read as it lies there; while it starts, the stopped source is compared with that."""
    REPAIR = "repair"
    """As REST, but compared before the target starts: what differs is copied, and told."""
    STREAM = "stream"
    """Nothing is read once more."""


class CommitRule(StrEnum):
    """Who says commit: the health check, or a person before a deadline."""

    AUTO = "auto"
    MANUAL = "manual"


class RunState(StrEnum):
    """Where a run is. The last five are final, but attention can be resolved."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    ATTENTION = "attention"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in {RunState.QUEUED, RunState.RUNNING, RunState.WAITING}


@record()
class Act:
    """In whose name something is done in a cloud: which run, which step, and the epoch of the execution.

    Clouds refuse an epoch lower than the highest they have seen of the run. (run, step) makes names and
    client tokens, so that the same act done twice makes one thing.
    """

    run: str
    step: str
    epoch: int


@record()
class Hook:
    """A command that the operator registered under ``name``, or a webhook, around one phase."""

    name: str
    phase: str
    after: bool = False


@record()
class WarmRules:
    """How a warm migration goes over from source to target.

    ``cutover_at`` (Unix seconds, 0 for none) is when the source is shut down, whatever ``cutover`` says.
    While it waits, what changed is copied every ``interval_s``; after ``deadline_s`` it rolls back.
    """

    max_outage_s: float = 120.0
    cutover: Cutover = Cutover.AUTO
    cutover_at: float = 0.0
    interval_s: float = 300.0
    deadline_s: float = 7 * 86400.0
    verify: Verify = Verify.REST


@record()
class MigrationRequest:
    """What a person asks for: move ``vm`` from cloud ``source`` to cloud ``target``.

    ``accept`` answers decisions by their finding codes. ``shutdown_s`` bounds the graceful shutdown;
    after it ``power_off`` says whether to pull the plug or give up. ``commit_deadline_s`` bounds the
    waiting of a manual commit, after which the run rolls back.
    """

    vm: str
    source: str
    target: str
    tenant: str = "default"
    mode: Mode = Mode.COLD
    test: bool = False
    rules: MappingRules = MappingRules()
    name: str = ""
    checks: HealthChecks = HealthChecks()
    commit: CommitRule = CommitRule.AUTO
    commit_deadline_s: float = 86400.0
    accept: tuple[str, ...] = ()
    shutdown_s: float = 90.0
    power_off: bool = False
    hooks: tuple[Hook, ...] = ()
    warm: WarmRules = WarmRules()


@record()
class Phase:
    """One timed phase. ``started`` is Unix seconds; ``merged_into`` names the phase that includes it."""

    name: str
    started: float
    seconds: float
    merged_into: str = ""


@record()
class Estimate:
    """What is expected: seconds in all, seconds without an answer, bytes of data to read at the source."""

    seconds: float
    outage_s: float
    size: int
    basis: str = ""


@record()
class Sync:
    """One copy of what changed, while the guest ran or, the ``last`` ones, when it was off.

    ``started`` is Unix seconds. ``read`` bytes of the disks were read, which is what may have changed, and
    ``sent`` bytes crossed the wire. ``owed`` bytes change all the time, and were left to the last copy.
    ``what`` is ``first``, ``delta``, ``last`` (the guest is off) or ``comparison``. ``consistency`` is that
    of the moment which was copied.
    """

    what: str
    started: float
    seconds: float
    read: int
    sent: int
    consistency: Consistency = Consistency.CRASH
    owed: int = 0


@record()
class MigrationReport:
    """What a migration did. The target VM's ``vm_id`` is empty when nothing is left there.

    ``sealed`` tells who certified what was copied, and what was checked before it was opened. ``verified``
    tells how the copy was checked: ``at rest`` or ``stream only``; ``surveyed`` what the source's site found
    in the guest for the seal, ``inspected`` what the target's site found; ``consistency`` how its guest found
    its file systems, None when none was started. ``tenants`` tells as which tenant of its site a partner's
    cloud (``beta@south``) served the run.
    """

    run: str
    request: MigrationRequest
    outcome: RunState
    phases: tuple[Phase, ...] = ()
    total_seconds: float = 0.0
    moved: tuple[Moved, ...] = ()
    syncs: tuple[Sync, ...] = ()
    outage_s: float | None = None
    findings: tuple[Finding, ...] = ()
    mapping: Mapping = Mapping()
    estimate: Estimate | None = None
    health: Health | None = None
    sealed: Admission | None = None
    verified: str = ""
    inspected: Inspected | None = None
    surveyed: Surveyed | None = None
    consistency: Consistency | None = None
    source_id: str = ""
    vm_id: str = ""
    left_behind: tuple[str, ...] = ()
    """What clean-up could not remove, in words."""
    text: str = ""
    """Why it ended as it did."""
    code: str = ""
    tenants: Table[str, str] = field(default_factory=dict[str, str])


class EventKind(StrEnum):
    """What an event tells."""

    STATE = "state"
    PHASE_STARTED = "phase-started"
    PHASE_FINISHED = "phase-finished"
    PROGRESS = "progress"
    FINDING = "finding"
    LOG = "log"


@record()
class Event:
    """One line of a run's story. ``number`` counts from 1 without gaps within a run."""

    kind: EventKind
    text: str = ""
    phase: Phase | None = None
    progress: Progress | None = None
    finding: Finding | None = None
    state: RunState | None = None
    number: int = 0
    time: float = 0.0

    @property
    def gist(self) -> tuple[object, ...]:
        """What makes it the same event when a later execution of the run tells it again: not its times."""
        return (self.kind, self.text, self.phase.name if self.phase else "", self.finding, self.state)


class LedgerState(StrEnum):
    """Whether a created thing is still there."""

    INTENDED = "intended"
    CREATED = "created"
    REMOVED = "removed"
    KEPT = "kept"
    """It belongs to the owner now: the migrated VM after commit."""


@record()
class Created:
    """One entry of the ledger: a thing of ``kind`` in ``cloud`` that ``run`` makes, written down before."""

    run: str
    cloud: str
    kind: str
    name: str
    id: str = ""
    state: LedgerState = LedgerState.INTENDED
    note: str = ""


@record()
class RunRecord:
    """A run as it is listed. Times are Unix seconds, 0 when not yet."""

    id: str
    kind: str
    tenant: str
    state: RunState
    subject: str
    created: float
    started: float = 0.0
    ended: float = 0.0
    epoch: int = 0
    node: str = ""
    attention: str = ""
    labels: Table[str, str] = field(default_factory=dict[str, str])
