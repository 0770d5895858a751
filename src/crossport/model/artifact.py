"""What travels when a VM moves: references to disks and state, tickets to read or write them, progress."""

from dataclasses import fields
from enum import StrEnum

from crossport.model.record import record
from crossport.model.signed_claim import SignedClaim
from crossport.model.vm import VM

__all__ = [
    "Artifact",
    "Consistency",
    "Copied",
    "Counters",
    "Digest",
    "DiskRef",
    "Export",
    "ExportPoint",
    "Extent",
    "Heat",
    "Marks",
    "Moved",
    "Place",
    "Progress",
    "Rate",
    "Role",
    "Ticket",
    "Way",
]


class Role(StrEnum):
    """What an artifact is to the VM."""

    DISK = "disk"
    NVRAM = "nvram"
    TPM = "tpm"
    MEMORY = "memory"


@record(kw_only=False)
class Extent:
    """``size`` bytes from ``start``; ``zero`` when they certainly read as zero.

    Not ``changed`` when they are certainly the same as at the mark that the reader compares with.
    """

    start: int
    size: int
    zero: bool = False
    changed: bool = True


@record(kw_only=False)
class Heat:
    """How often ``size`` bytes from ``start`` changed lately: ``degree`` is 1 or more.

    ``owed``: what is there now was left out by the copy that told this, and has still to be copied.
    """

    start: int
    size: int
    degree: int
    owed: bool = False


@record()
class DiskRef:
    """Where bytes lie, for a gateway to open: never a cloud login, never opened by the control plane.

    ``kind`` chooses the opener from a registry (``nbd``, ``file``, ``memory``), ``locator`` is its own
    (for ``nbd``: ``unix:/path`` or ``tcp:host:port``, then ``?export=name`` and, to tell what changed,
    ``&bitmap=name``). ``secret_ref`` names a short-lived secret that comes with the ticket. ``identity`` is
    of the volume behind it: the same whenever and however that is opened, another one once its bytes were
    made anew; empty when its cloud cannot tell.
    """

    kind: str
    locator: str
    size: int
    secret_ref: str = ""
    identity: str = ""


@record()
class Artifact:
    """One thing that travels. ``name`` is stable within the VM: ``disk-0``, ``nvram``, …."""

    role: Role
    name: str
    ref: DiskRef


class ExportPoint(StrEnum):
    """Which state of the VM is exported."""

    STOPPED = "stopped"
    SUSPENDED = "suspended"
    SNAPSHOT = "snapshot"
    """One moment of the running VM; the VM itself is not touched."""


class Consistency(StrEnum):
    """How a guest finds its file systems when it starts from what was exported."""

    OFF = "off"
    """As it left them: it was shut down, or suspended."""
    FROZEN = "frozen"
    """As after a clean unmount: an agent in the guest kept them still at the moment."""
    CRASH = "crash-consistent"
    """As after a power cut; a journal repairs that."""


@record()
class Export:
    """A VM opened for reading: its description at that point, and what to copy.

    ``frozen``: of a running VM, an agent in the guest kept all its file systems still at the moment.
    """

    vm: VM
    point: ExportPoint
    artifacts: tuple[Artifact, ...]
    frozen: bool = False

    @property
    def consistency(self) -> Consistency:
        """How the guest finds its file systems in this."""
        if self.point is not ExportPoint.SNAPSHOT:
            return Consistency.OFF
        return Consistency.FROZEN if self.frozen else Consistency.CRASH


@record()
class Marks:
    """Which changes an export tells, and from where on further ones are tracked.

    ``since`` names the mark behind which changes count, empty: everything counts. ``mark`` names the one that
    is set at the moment of the export, empty: none.
    """

    since: str = ""
    mark: str = ""


@record()
class Place:
    """Where a data-plane process of a cloud runs: the gateway's seat in one of the reserved subnets.

    ``namespace`` is a network namespace of this machine to enter, empty where there is none. ``address``
    is what the peer dials. ``tenant`` and ``cloud`` say whose cloud it is and what that is called there; a
    driver knows neither, and gives its own word for the cloud. ``site`` is the partner whose place it is,
    empty for one of this site.
    """

    cloud: str
    subnet: str
    address: str
    namespace: str = ""
    tenant: str = ""
    site: str = ""

    @property
    def called(self) -> str:
        """What people of this site call the cloud: ``beta``, at a partner ``beta@partner``."""
        return f"{self.cloud}@{self.site}" if self.site else self.cloud


class Way(StrEnum):
    """Whether a ticket lets read or write."""

    READ = "read"
    WRITE = "write"


@record()
class Ticket:
    """The right of one gateway to read or write one artifact in one run, until ``expires`` (Unix seconds).

    A higher epoch of the same run and artifact ends a lower one. ``byte_budget`` bounds what may cross. Who
    writes may read the images that its cloud has ``published`` to this tenant: what they have is not sent.
    ``unopened`` says why there are none although there may be; it restricts nothing.

    Who reads is told the ``heat`` that the copy before of the same disk told: what is owed in it counts as
    changed. Where it ``defers``, it may leave out what is hot, and owe it.
    """

    id: str
    tenant: str
    run: str
    epoch: int
    artifact: str
    way: Way
    ref: DiskRef
    place: Place
    byte_budget: int
    expires: float
    nonce: str
    published: tuple[DiskRef, ...] = ()
    unopened: str = ""
    heat: tuple[Heat, ...] = ()
    defers: bool = False


@record()
class Counters:
    """What became of the bytes of one artifact.

    ``read`` at the source, ``sent`` over the wire with all that belongs to it, ``written`` at the target. Not
    sent, because they are ``zero``, because the target had them (``present``), or because the source did
    certainly not change (``unchanged``, and not read either). ``resent`` crossed the wire once more;
    ``compressed`` is the content that crossed it compressed. ``offered`` was named before it was sent;
    ``shared`` was written, but not sent, because it had come to the target's site with another copy.
    """

    read: int = 0
    sent: int = 0
    written: int = 0
    zero: int = 0
    present: int = 0
    unchanged: int = 0
    resent: int = 0
    compressed: int = 0
    offered: int = 0
    shared: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        """Return what became of the bytes of both."""
        names = (field.name for field in fields(self))
        return Counters(**{name: getattr(self, name) + getattr(other, name) for name in names})


@record()
class Progress:
    """How far the copy of one artifact is, in bytes. ``seconds_left`` is an estimate, None when unknown.

    ``waits_for`` says what holds the copy up when nothing has arrived for some seconds: ``source``, ``link``,
    ``target``, ``flush`` (of the target) or ``limit`` (of the rate).
    """

    artifact: str
    size: int
    done: int
    counters: Counters = Counters()
    rate_bps: float = 0.0
    seconds_left: float | None = None
    waits_for: str = ""


@record()
class Rate:
    """What was measured of the way between two places: ``size`` bytes passed in ``seconds``, which is > 0."""

    size: int
    seconds: float

    @property
    def bps(self) -> float:
        """Bits per second."""
        return self.size * 8 / self.seconds


@record(kw_only=False)
class Copied:
    """What a copy brought: ``artifact`` of ``run``, which is of ``tenant``."""

    tenant: str
    run: str
    artifact: str


@record()
class Digest:
    """What lies on a disk: the hex SHA-256 Merkle root over its chunks. ``read`` bytes were read for it."""

    root: str
    read: int


@record()
class Moved:
    """One artifact arrived and was verified: ``root`` is the hex SHA-256 Merkle root over its chunks.

    ``heat`` tells which parts change all the time. What is owed in it is at the target as an earlier copy
    found it, and so it is in ``root``. ``claim`` is the word of the gateway that read it, ``arrival`` that of
    the gateway that wrote and verified it; a gateway of an older release gives none.
    """

    artifact: str
    size: int
    chunk_size: int
    root: str
    counters: Counters
    seconds: float
    heat: tuple[Heat, ...] = ()
    claim: SignedClaim | None = None
    arrival: SignedClaim | None = None
