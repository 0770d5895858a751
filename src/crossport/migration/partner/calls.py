"""The calls of `crossport.spi.site.Site` as messages: what each carries, and how the serving site makes it.

An artifact's reference is the serving site's own, and is shown to nobody: it goes out as a handle, and what
comes back is looked up. A statement goes out signed and comes in believed.
"""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from crossport import errors
from crossport.migration.partner.ask_grant import AskGrant
from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.serving import Ask, Serving
from crossport.migration.partner.survey_guest import SurveyGuest
from crossport.migration.standing import Standing
from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Moved, Ticket, Way
from crossport.model.health import Health, HealthChecks, ProbeKind
from crossport.model.inspection import Inspected
from crossport.model.permit import SignedStatement, StatementKind
from crossport.model.record import record
from crossport.model.sealing import Admission, SealedImage
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM, RoomFor
from crossport.spi.site import Cleaned, Compared, Description, StopRule

__all__ = [
    "CALLS",
    "GONE",
    "STOPPED",
    "AdmitImage",
    "Check",
    "Clean",
    "Compare",
    "Describe",
    "Discard",
    "Exported",
    "GiveTicket",
    "GiveUp",
    "InspectGuest",
    "Instantiate",
    "OpenForReading",
    "OpenUp",
    "Permit",
    "PrepareCommit",
    "PrepareImport",
    "ReadBack",
    "Release",
    "Reserve",
    "SealImage",
    "Stand",
    "Verify",
    "Withdraw",
]

Artifacts = Annotated[tuple[Artifact, ...], Field(max_length=64)]
Arrived = Annotated[tuple[Moved, ...], Field(max_length=64)]
Rooms = Annotated[tuple[RoomFor, ...], Field(max_length=64)]
Label = Annotated[str, Field(max_length=255)]

STOPPED = (StatementKind.STOPPED_AND_FENCED,)
GONE = (StatementKind.NEVER_STARTED, StatementKind.STOPPED_AND_FENCED)


@record()
class Describe(Ask):
    """`Site.describe`."""

    OPERATION = "site.describe"
    ANSWER = Description

    vm: Label = ""

    async def made(self, at: Serving) -> Description:
        """Describe the cloud, and one VM. Of the import policy a partner sees what is asked of itself."""
        await at.notary.ready()
        found = await at.site.describe(self.cloud, self.vm)
        if found.policy is None:
            return found
        own = tuple(one for one in found.policy.partners if one.site == at.deed.partner.name)
        return replace(found, policy=replace(found.policy, partners=own, forbidden_packages=()), unable=())


@record()
class Check(Ask):
    """`Site.check`."""

    OPERATION = "site.check"
    ANSWER = Health

    vm: Label
    checks: HealthChecks

    async def made(self, at: Serving) -> Health:
        """Probe the VM. Commands are typed in copies of the partner's own runs that are not opened yet, and
        nowhere else: who may move a VM may not do in it what it likes, as root and unseen by its owner.
        """
        if any(probe.kind is ProbeKind.COMMAND for probe in self.checks.probes):
            await at.require_copy(self.cloud, self.vm)
        return await at.site.check(self.cloud, self.vm, self.checks)


@record()
class Reserve(Ask):
    """`Site.reserve`."""

    OPERATION = "site.reserve"
    MAKES = True

    vm: Label = ""
    rooms: Rooms = ()

    @property
    def end(self) -> RunEnd:
        """The source's, where a VM is named."""
        return RunEnd.SOURCE if self.vm else RunEnd.TARGET

    @property
    def vm_id(self) -> str:
        """The source's VM."""
        return self.vm

    async def made(self, at: Serving) -> bool:
        """Keep others away."""
        await at.site.reserve(at.act, self.cloud, vm=self.vm, rooms=self.rooms)
        return True


@record()
class Exported:
    """What `Site.export` answers."""

    export: Export
    statement: SignedStatement | None


@record()
class OpenForReading(Ask):
    """`Site.export`."""

    OPERATION = "site.export"
    END = RunEnd.SOURCE
    MAKES = True
    ANSWER = Exported

    vm: Label
    point: ExportPoint
    stop: StopRule
    marks: Marks | None = None

    @property
    def vm_id(self) -> str:
        """The source's VM."""
        return self.vm

    async def made(self, at: Serving) -> Exported:
        """Stop the VM as needed, and open it."""
        export, statement = await at.site.export(
            at.act, self.cloud, self.vm, point=self.point, stop=self.stop, marks=self.marks
        )
        shown = replace(export, artifacts=await at.shown(export.artifacts))
        return Exported(export=shown, statement=await at.signed(statement) if statement else None)


@record()
class PrepareImport(Ask):
    """`Site.prepare_import`."""

    OPERATION = "site.prepare-import"
    END = RunEnd.TARGET
    MAKES = True
    ANSWER = tuple[Artifact, ...]

    rooms: Rooms

    async def made(self, at: Serving) -> tuple[Artifact, ...]:
        """Make room."""
        return await at.shown(await at.site.prepare_import(at.act, self.cloud, self.rooms))


@record()
class GiveTicket(Ask):
    """`Site.ticket`. The ticket is in the partner's words for run and tenant."""

    OPERATION = "site.ticket"
    MAKES = True
    ANSWER = Ticket

    artifact: Artifact
    way: Way

    @property
    def end(self) -> RunEnd:
        """The end where it is read, or written."""
        return RunEnd.SOURCE if self.way is Way.READ else RunEnd.TARGET

    async def made(self, at: Serving) -> Ticket:
        """Give a ticket for what was opened."""
        (artifact,) = await at.known((self.artifact,))
        ticket = await at.site.ticket(at.act, self.cloud, artifact, self.way)
        return await at.tickets.give(at.deed.partner.name, ticket, run=at.deed.run, tenant=self.tenant)


@record()
class ReadBack(Ask):
    """`Site.read_back`."""

    OPERATION = "site.read-back"
    END = RunEnd.TARGET
    READS = True

    artifacts: Artifacts
    moved: Arrived

    async def made(self, at: Serving) -> bool:
        """Read what was written."""
        await at.site.read_back(at.act, self.cloud, await at.known(self.artifacts), self.moved)
        return True


@record()
class Compare(Ask):
    """`Site.compare`."""

    OPERATION = "site.compare"
    END = RunEnd.SOURCE
    READS = True
    ANSWER = Compared

    artifacts: Artifacts
    moved: Arrived

    async def made(self, at: Serving) -> Compared:
        """Compare the stopped source with what arrived."""
        return await at.site.compare(at.act, self.cloud, await at.known(self.artifacts), self.moved)


@record()
class SealImage(Ask):
    """`Site.seal`. The importer is the partner that asks, and what is described is our own VM."""

    OPERATION = "site.seal"
    END = RunEnd.SOURCE
    ANSWER = SealedImage

    vm: Label
    moved: Arrived

    @property
    def vm_id(self) -> str:
        """The source's VM."""
        return self.vm

    async def made(self, at: Serving) -> SealedImage:
        """Seal what was read for the partner."""
        found = (await at.site.describe(self.cloud, self.vm)).vm
        if found is None:
            raise errors.NotFound(
                "vm.unknown",
                f"There is no VM {self.vm}.",
                field="vm",
                remedy=f"See what {self.cloud} has now: crossport vm list {self.cloud}",
            )
        importer, run = at.deed.partner.name, at.deed.run
        return await at.site.seal(at.act, self.cloud, found, self.moved, importer, run=run)


@record()
class AdmitImage(Ask):
    """`Site.admit`."""

    OPERATION = "site.admit"
    END = RunEnd.TARGET
    ANSWER = Admission

    image: SealedImage
    moved: Arrived

    async def made(self, at: Serving) -> Admission:
        """Verify the seal."""
        return await at.site.admit(at.act, self.cloud, self.image, self.moved, run=at.deed.run)


@record()
class Verify(Ask):
    """`Site.verify`."""

    OPERATION = "site.verify"
    END = RunEnd.TARGET
    READS = True
    ANSWER = tuple[Artifact, ...]

    moved: Arrived
    at_rest: bool

    async def made(self, at: Serving) -> tuple[Artifact, ...]:
        """Close what was written, and read it."""
        sealed = await at.site.verify(at.act, self.cloud, self.moved, at_rest=self.at_rest)
        return await at.shown(sealed)


@record()
class InspectGuest(Ask):
    """`Site.inspect`."""

    OPERATION = "site.inspect"
    END = RunEnd.TARGET
    READS = True
    ANSWER = Inspected

    moved: Arrived

    async def made(self, at: Serving) -> Inspected:
        """Look into the guest."""
        return await at.site.inspect(at.act, self.cloud, self.moved)


@record()
class Instantiate(Ask):
    """`Site.instantiate`."""

    OPERATION = "site.instantiate"
    END = RunEnd.TARGET
    MAKES = True
    ANSWER = VM

    new: NewVM
    stopped: SignedStatement | None

    async def made(self, at: Serving) -> VM:
        """Start the copy in quarantine."""
        stopped = await at.believed(self.stopped, STOPPED) if self.stopped else None
        new = replace(self.new, artifacts=await at.known(self.new.artifacts), quarantine=True)
        vm = await at.site.instantiate(at.act, self.cloud, new, stopped=stopped)
        await at.became(vm.id)
        return vm


@record()
class _AboutVm(Ask):
    """A call about the VM that the run has here, answered by a statement."""

    ANSWER = SignedStatement

    vm: Label

    @property
    def vm_id(self) -> str:
        """The VM."""
        return self.vm


@record()
class PrepareCommit(_AboutVm):
    """`Site.prepare_commit`."""

    OPERATION = "site.prepare-commit"
    END = RunEnd.TARGET

    async def made(self, at: Serving) -> SignedStatement:
        """State that the copy stands here."""
        return await at.signed(await at.site.prepare_commit(at.act, self.cloud, self.vm))


@record()
class Permit(_AboutVm):
    """`Site.commit` of the source's end."""

    OPERATION = "site.permit"
    END = RunEnd.SOURCE

    other: SignedStatement

    async def made(self, at: Serving) -> SignedStatement:
        """Record the decision, and permit the start."""
        other = await at.believed(self.other, (StatementKind.PREPARED,))
        return await at.signed(await at.site.commit(at.act, self.cloud, self.vm, other=other))


@record()
class OpenUp(_AboutVm):
    """`Site.commit` of the target's end."""

    OPERATION = "site.open"
    END = RunEnd.TARGET
    BACK = True

    other: SignedStatement

    async def made(self, at: Serving) -> SignedStatement:
        """Open the copy on the permit."""
        other = await at.believed(self.other, (StatementKind.START_PERMITTED,))
        return await at.signed(await at.site.commit(at.act, self.cloud, self.vm, other=other))


@record()
class Withdraw(_AboutVm):
    """`Site.withdraw`."""

    OPERATION = "site.withdraw"
    END = RunEnd.SOURCE
    BACK = True

    sure: bool

    async def made(self, at: Serving) -> SignedStatement:
        """Record that no permit will come."""
        return await at.signed(await at.site.withdraw(at.act, self.cloud, self.vm, sure=self.sure))


@record()
class GiveUp(_AboutVm):
    """`Site.give_up`."""

    OPERATION = "site.give-up"
    END = RunEnd.TARGET
    BACK = True

    sure: bool

    async def made(self, at: Serving) -> SignedStatement:
        """State that the copy is lost."""
        return await at.signed(await at.site.give_up(at.act, self.cloud, self.vm, sure=self.sure))


@record()
class Discard(_AboutVm):
    """`Site.roll_back` of the target's end. It knows the source's VM by no word: ``vm`` is not looked at."""

    OPERATION = "site.discard"
    END = RunEnd.TARGET
    BACK = True

    other: SignedStatement

    @property
    def vm_id(self) -> str:
        """None: what the run made is discarded, whatever it is called."""
        return ""

    async def made(self, at: Serving) -> SignedStatement:
        """Stop the copy and remove it."""
        other = await at.believed(self.other, (StatementKind.NO_PERMIT,))
        return await at.signed(await at.site.roll_back(at.act, self.cloud, self.vm, other=other))


@record()
class Release(_AboutVm):
    """`Site.roll_back` of the source's end."""

    OPERATION = "site.release"
    END = RunEnd.SOURCE
    BACK = True

    other: SignedStatement

    async def made(self, at: Serving) -> SignedStatement:
        """Bring the VM back."""
        other = await at.believed(self.other, GONE)
        return await at.signed(await at.site.roll_back(at.act, self.cloud, self.vm, other=other))


@record()
class Clean(Ask):
    """`Site.clean`."""

    OPERATION = "site.clean"
    BACK = True
    ANSWER = Cleaned

    keep_vm: bool

    async def made(self, at: Serving) -> Cleaned:
        """Remove what is not kept."""
        return await at.site.clean(at.act, self.cloud, keep_vm=self.keep_vm)


@record()
class Stand(Ask):
    """How an end of ``run``, the partner's word for it, stands here. ``vm`` is the source's, if known."""

    OPERATION = "site.standing"
    ANSWER = Standing

    run: Label
    which: RunEnd
    vm: Label = ""

    async def made(self, at: Serving) -> Standing:
        """Look at it."""
        return await at.standing(self.run, self.which, self.vm)


CALLS: tuple[type[Ask], ...] = (
    *(Describe, Check, Stand, Reserve, OpenForReading, PrepareImport, GiveTicket, ReadBack, Compare),
    *(SurveyGuest, SealImage, AdmitImage, Verify, InspectGuest, AskGrant),
    *(Instantiate, PrepareCommit, Permit, OpenUp, Withdraw, GiveUp, Discard, Release, Clean),
)
