"""One end of a migration, whoever operates it: this site itself, or a partner over its API.

The workflow runs at the initiating site and speaks to both ends only through this. Every call is idempotent
by (run, step) and refuses an epoch lower than the highest seen of the run. Every site keeps the ledger of
what it made for the run and can clean it alone.
"""

from typing import Protocol

from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Moved, Ticket, Way
from crossport.model.construct import Constructs
from crossport.model.finding import Finding
from crossport.model.health import Health, HealthChecks
from crossport.model.import_policy import ImportPolicy, OwnCheck
from crossport.model.inspection import Inspected, LookMode, Surveyed, Unable
from crossport.model.permit import Statement
from crossport.model.record import record
from crossport.model.run import Act
from crossport.model.sealing import Admission, SealedImage
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM, RoomFor

__all__ = ["Cleaned", "Compared", "Description", "Site", "StopRule"]


@record()
class Description:
    """What one end knows: its constructs, the VM asked about (source end only), and its own findings.

    ``names`` are those of all its VMs. ``abilities`` are Protocols of ``spi.cloud`` that hold, by name.
    ``policy`` (target end only) is what it asks of whoever asks, ``checks`` what it can check itself of that,
    ``unable`` why not the rest, which partners are not told. ``look``: whether it looks into those that leave
    it. ``seal_keys`` (source end only) are the ids of the keys with which its site may seal now.
    """

    constructs: Constructs
    abilities: tuple[str, ...]
    points: tuple[ExportPoint, ...] = ()
    names: tuple[str, ...] = ()
    vm: VM | None = None
    findings: tuple[Finding, ...] = ()
    policy: ImportPolicy | None = None
    checks: tuple[OwnCheck, ...] = ()
    seal_keys: tuple[str, ...] = ()
    look: LookMode = LookMode.NEVER
    unable: tuple[Unable, ...] = ()


@record()
class StopRule:
    """How the source may be stopped: seconds for a graceful shutdown, then the plug or giving up."""

    shutdown_s: float
    power_off: bool


@record()
class Compared:
    """What a comparison of the source with what arrived found: ``differing`` artifacts; ``read`` bytes.

    Not ``whole`` when it was given up before everything was read.
    """

    read: int = 0
    differing: tuple[str, ...] = ()
    whole: bool = True


@record()
class Cleaned:
    """What was removed for a run, and what could not be, in words."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Site(Protocol):
    """The calls of one end. ``cloud`` names a cloud of that site."""

    name: str

    async def describe(self, cloud: str, vm: str = "") -> Description:
        """Return constructs, and the VM when one is named. Raise NotFound for an unknown cloud or VM."""
        ...

    async def reserve(self, act: Act, cloud: str, *, vm: str = "", rooms: tuple[RoomFor, ...] = ()) -> None:
        """Keep others away until clean: the source's VM (Conflict ``vm.migrating``), the target's room."""
        ...

    async def export(
        self,
        act: Act,
        cloud: str,
        vm: str,
        *,
        point: ExportPoint,
        stop: StopRule,
        marks: Marks | None = None,
    ) -> tuple[Export, Statement | None]:
        """Stop or suspend the VM as ``point`` needs, fence it, and open it for reading.

        With ``marks``, the references tell what changed (see ChangeTracker). The statement says that it is
        stopped and fenced; a snapshot has none. Raise errors.RolledBack (``vm.shutdown.refused``) when the
        guest would not stop and the rule forbids pulling the plug.
        """
        ...

    async def prepare_import(self, act: Act, cloud: str, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make room and open it for writing."""
        ...

    async def ticket(self, act: Act, cloud: str, artifact: Artifact, way: Way) -> Ticket:
        """Give a gateway of ``cloud`` the right to read or write one artifact."""
        ...

    async def read_back(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> None:
        """Target end: read what was written as it lies there, while more may come.

        ``artifacts`` are from prepare_import. `verify` need not read again what was read here and not written
        since. Raise Refused (``image.digest.mismatch``) as that does.
        """
        ...

    async def compare(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> Compared:
        """Source end: read the artifacts of a stopped VM whole, and compare them with what arrived.

        Nothing is read at the target: it is compared with what was verified there, whatever became of that.
        """
        ...

    async def survey(self, act: Act, cloud: str, artifacts: tuple[Artifact, ...]) -> Surveyed:
        """Source end: look into the guest whose disks are open, for what the seal will tell of it.

        It may be asked again, and while they are copied. A guest that cannot be read is told, not raised.
        Raise Unavailable when nobody can look now. What is not done when `seal` comes is sealed as not done.
        """
        ...

    async def seal(
        self, act: Act, cloud: str, vm: VM, moved: tuple[Moved, ...], importer: str, *, run: str = ""
    ) -> SealedImage:
        """Source end: have what was read of ``vm``, as it was exported, sealed for the site ``importer``.

        The roots are those of the last copy, which the gateways that read vouch for. ``run`` is what the site
        that executes the run calls it, where that is another one than this. Raise Refused
        (``image.unclaimed``, ``signer.…``) when they do not, and (``image.unsurveyed``) when this site seals
        only what it has read; Unavailable when the signer does not answer.
        """
        ...

    async def admit(
        self, act: Act, cloud: str, image: SealedImage, moved: tuple[Moved, ...], *, run: str = ""
    ) -> Admission:
        """Target end: verify the seal, that the import policy admits it, and that it is over what arrived.

        Its nonce is spent then: it is admitted in this run alone. Raise Refused with a code of
        docs/certified-image.md. Nothing is opened before.
        """
        ...

    async def verify(
        self, act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True
    ) -> tuple[Artifact, ...]:
        """Close what was written, read it at rest and, meanwhile, look into the guest as the policy asks.

        Return it when every root is the source's and the policy admits what was found. Not ``at_rest``, no
        root is made: what was checked when it arrived is believed to be there. Raise Refused
        (``image.digest.mismatch``) when the target holds other bytes than the source sent,
        (``image.unsealed``) when `admit` has not passed in this run for what was moved, what `inspect`
        raises, and (``inspect.guest.started``) once the guest was started. Unavailable when nobody can look.
        """
        ...

    async def inspect(self, act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        """Target end: return what was found in the guest that `verify` found to be right.

        It is looked into now only if the policy asks for it since. Raise Refused (``inspect.…``,
        ``policy.package.forbidden``) for a guest that the policy does not admit, or that cannot be read as it
        asks; Unavailable when nobody can look now.
        """
        ...

    async def instantiate(self, act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        """Start the verified copy in quarantine.

        ``stopped`` is the source's statement; without it only an isolated copy may start. Raise Refused
        (``image.unverified``) when ``verify`` has not passed in this run, (``image.unsealed``,
        ``seal.descriptor.disagrees``) when ``new`` is not what was sealed, and (``policy.own-check.…``) when
        the guest was not checked for all that the policy asks by now.
        """
        ...

    async def check(self, cloud: str, vm_id: str, checks: HealthChecks) -> Health:
        """Probe until all succeed in a row or time is over."""
        ...

    async def prepare_commit(self, act: Act, cloud: str, vm_id: str) -> Statement:
        """Target end: state that the verified copy stands here and waits for the permit.

        Raise Refused (``permit.copy.none``) when it does not: then a commit would lose both sides; and
        (``policy.own-check.…``) unless the guest passed what this site's import policy wants it checked for.
        """
        ...

    async def commit(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Source end (``other`` says prepared): record the decision durably; return the start permit.

        Refused (``permit.source.runs``) when the source was started in the meantime. Target end (``other``
        is the permit): open the network and return the statement that it is opened. A permit is good once,
        for its run, VM and epoch, and where `prepare_commit` has passed (``permit.copy.unprepared``);
        anything else is Refused.
        """
        ...

    async def withdraw(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Source end: record durably that this run will never get a permit. Refused after commit.

        Raise Refused (``permit.source.gone``) when the cloud has the VM no more, and Unavailable when it
        cannot say so, because the target's copy may be the last one; with ``sure`` it is not asked.
        """
        ...

    async def give_up(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Target end: state that its copy will never run because its cloud has lost it.

        Refused (``permit.copy.stands``) when the copy is there. ``sure`` is a person's word that a cloud
        that does not answer is gone for good; it is not taken once the permit was used.
        """
        ...

    async def roll_back(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Target end (``other`` says no permit): stop and discard; state that it will never run.

        Source end (``other`` is that statement): unfence, and start it again if it ran before.
        """
        ...

    async def clean(self, act: Act, cloud: str, *, keep_vm: bool) -> Cleaned:
        """Remove what the run made here and is not kept; end exports and reservations. Repeatable."""
        ...
