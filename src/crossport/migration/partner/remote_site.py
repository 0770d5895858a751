"""A partner's end of a migration: every call of `Site` as a message over the link, made at the other site.

What it states is believed only with its signature, and what this site states goes there signed. A call whose
answer was lost is sent again as the same message; one that takes long is asked for until it is done.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

from crossport import errors
from crossport.identity.messages import Messages
from crossport.migration.partner import calls
from crossport.migration.partner.ask_grant import AskGrant
from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.notary import Deed, Notary
from crossport.migration.partner.serving import About, Ask
from crossport.migration.partner.survey_guest import SurveyGuest
from crossport.migration.standing import Standing
from crossport.model import codec
from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Moved, Ticket, Way
from crossport.model.failure import Failure
from crossport.model.grant import Granted
from crossport.model.health import Health, HealthChecks
from crossport.model.inspection import Inspected, Surveyed
from crossport.model.message import Reply
from crossport.model.name import parted
from crossport.model.permit import SignedStatement, Statement, StatementKind
from crossport.model.run import Act
from crossport.model.sealing import Admission, SealedImage
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.cloud import NewVM, RoomFor
from crossport.spi.partner import PartnerLink, Partners
from crossport.spi.site import Cleaned, Compared, Description, StopRule
from crossport.transfer.partner.grant import Asked, taken

__all__ = ["RemoteParts", "RemoteSite"]

T = TypeVar("T")


TRIES = 3
"""How often a message is sent whose answer was lost, before the step that sent it is tried anew."""
PAUSE_S = 0.5
LONGEST_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteParts:
    """What it takes to speak with a partner. ``site`` is this site's name, ``tenant`` who asks."""

    site: str
    tenant: str
    link: PartnerLink
    partners: Partners
    messages: Messages
    notary: Notary
    clock: Clock


class RemoteSite:
    """The site of the partner ``name``. Clouds are called as it calls them, or that and ``@name``."""

    def __init__(self, name: str, parts: RemoteParts) -> None:
        self.name = name
        self._parts = parts

    async def describe(self, cloud: str, vm: str = "") -> Description:
        """Ask what the cloud offers, and about one VM; raise Conflict where this node cannot sign for us."""
        await self._parts.notary.ready()
        return await self._asked(None, calls.Describe(**self._about(cloud), vm=vm), Description)

    async def reserve(self, act: Act, cloud: str, *, vm: str = "", rooms: tuple[RoomFor, ...] = ()) -> None:
        """Keep others away."""
        await self._asked(act, calls.Reserve(**self._about(cloud, act), vm=vm, rooms=rooms), bool)

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
        """Stop, fence and open the VM for reading."""
        ask = calls.OpenForReading(**self._about(cloud, act), vm=vm, point=point, stop=stop, marks=marks)
        answer = await self._asked(act, ask, calls.Exported)
        if answer.statement is None:
            return answer.export, None
        return answer.export, await self._believed(act, answer.statement, calls.STOPPED)

    async def prepare_import(self, act: Act, cloud: str, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make room."""
        ask = calls.PrepareImport(**self._about(cloud, act), rooms=rooms)
        return await self._asked(act, ask, tuple[Artifact, ...])

    async def ticket(self, act: Act, cloud: str, artifact: Artifact, way: Way) -> Ticket:
        """Get the right to read or write one artifact there."""
        ask = calls.GiveTicket(**self._about(cloud, act), artifact=artifact, way=way)
        ticket = await self._asked(act, ask, Ticket)
        tenant = self._parts.tenant
        asked = Asked(tenant, act.run, act.epoch, artifact.name, way, artifact.ref)
        return taken(self.name, ticket, asked)

    async def read_back(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> None:
        """Read what was written."""
        await self._asked(
            act, calls.ReadBack(**self._about(cloud, act), artifacts=artifacts, moved=moved), bool
        )

    async def compare(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> Compared:
        """Compare the stopped source with what arrived."""
        ask = calls.Compare(**self._about(cloud, act), artifacts=artifacts, moved=moved)
        return await self._asked(act, ask, Compared)

    async def survey(self, act: Act, cloud: str, artifacts: tuple[Artifact, ...]) -> Surveyed:
        """Have the partner look into its guest."""
        return await self._asked(act, SurveyGuest(**self._about(cloud, act), artifacts=artifacts), Surveyed)

    async def seal(
        self, act: Act, cloud: str, vm: VM, moved: tuple[Moved, ...], importer: str, *, run: str = ""
    ) -> SealedImage:
        """Have what was read sealed there, for this site."""
        del importer, run  # whoever asks is the importer, and the partner knows what this site calls the run
        ask = calls.SealImage(**self._about(cloud, act), vm=vm.id, moved=moved)
        return await self._asked(act, ask, SealedImage)

    async def admit(
        self, act: Act, cloud: str, image: SealedImage, moved: tuple[Moved, ...], *, run: str = ""
    ) -> Admission:
        """Have the seal verified there."""
        del run
        ask = calls.AdmitImage(**self._about(cloud, act), image=image, moved=moved)
        return await self._asked(act, ask, Admission)

    async def verify(
        self, act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True
    ) -> tuple[Artifact, ...]:
        """Close what was written, and have it read at rest."""
        ask = calls.Verify(**self._about(cloud, act), moved=moved, at_rest=at_rest)
        return await self._asked(act, ask, tuple[Artifact, ...])

    async def inspect(self, act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        """Have the guest looked into there."""
        return await self._asked(act, calls.InspectGuest(**self._about(cloud, act), moved=moved), Inspected)

    async def instantiate(self, act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        """Start the verified copy in quarantine."""
        signed = await self._signed(act, stopped) if stopped else None
        return await self._asked(
            act, calls.Instantiate(**self._about(cloud, act), new=new, stopped=signed), VM
        )

    async def check(self, cloud: str, vm_id: str, checks: HealthChecks) -> Health:
        """Have it probed."""
        return await self._asked(None, calls.Check(**self._about(cloud), vm=vm_id, checks=checks), Health)

    async def prepare_commit(self, act: Act, cloud: str, vm_id: str) -> Statement:
        """Let the target state that its copy stands there."""
        ask = calls.PrepareCommit(**self._about(cloud, act), vm=vm_id)
        return await self._stated(act, ask, (StatementKind.PREPARED,))

    async def commit(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Source end: get the permit. Target end: hand it over."""
        about, signed = self._about(cloud, act), await self._signed(act, other)
        if other.kind is StatementKind.PREPARED:
            ask = calls.Permit(**about, vm=vm_id, other=signed)
            return await self._stated(act, ask, (StatementKind.START_PERMITTED,))
        opening = calls.OpenUp(**about, vm=vm_id, other=signed)
        return await self._stated(act, opening, (StatementKind.OPENED,))

    async def withdraw(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Let the source state that no permit will come."""
        ask = calls.Withdraw(**self._about(cloud, act), vm=vm_id, sure=sure)
        return await self._stated(act, ask, (StatementKind.NO_PERMIT,))

    async def give_up(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Let the target state that its copy is lost."""
        ask = calls.GiveUp(**self._about(cloud, act), vm=vm_id, sure=sure)
        return await self._stated(act, ask, calls.GONE)

    async def roll_back(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Target end: discard. Source end: bring the VM back as it was."""
        about, signed = self._about(cloud, act), await self._signed(act, other)
        if other.kind is StatementKind.NO_PERMIT:
            return await self._stated(act, calls.Discard(**about, vm=vm_id, other=signed), calls.GONE)
        ask = calls.Release(**about, vm=vm_id, other=signed)
        return await self._stated(act, ask, (StatementKind.RELEASED,))

    async def clean(self, act: Act, cloud: str, *, keep_vm: bool) -> Cleaned:
        """Have removed what is not kept."""
        return await self._asked(act, calls.Clean(**self._about(cloud, act), keep_vm=keep_vm), Cleaned)

    async def standing(self, run: str, cloud: str, which: RunEnd, vm: str = "") -> Standing:
        """Return how that end of a run of this site stands there."""
        ask = calls.Stand(**self._about(cloud), run=run, which=which, vm=vm)
        return await self._asked(None, ask, Standing)

    async def granted(self, run: str, cloud: str) -> Granted:
        """Return whether a run of this site still has its right there."""
        return await self._asked(None, AskGrant(**self._about(cloud), run=run), Granted)

    # What all calls share.
    def _about(self, cloud: str, act: Act | None = None) -> About:
        step = act.step if act else "none"
        return {"tenant": self._parts.tenant, "cloud": parted(cloud)[0], "step": step}

    async def _stated(self, act: Act, ask: Ask, kinds: tuple[StatementKind, ...]) -> Statement:
        return await self._believed(act, await self._asked(act, ask, SignedStatement), kinds)

    async def _deed(self, act: Act) -> Deed:
        partner = await self._parts.partners.partner(self.name)
        return Deed(partner=partner, initiator=self._parts.site, run=act.run, here=act.run)

    async def _signed(self, act: Act, statement: Statement) -> SignedStatement:
        return await self._parts.notary.signed(statement, await self._deed(act))

    async def _believed(
        self, act: Act, signed: SignedStatement, kinds: tuple[StatementKind, ...]
    ) -> Statement:
        return await self._parts.notary.believed(signed, await self._deed(act), kinds)

    async def _asked(self, act: Act | None, ask: Ask, answer: type[T]) -> T:
        """Return the partner's answer, however often it has to be asked for it."""
        body = codec.encoded(ask)
        run, epoch = (act.run, act.epoch) if act else ("", 0)
        content = self._parts.messages.written(self.name, ask.OPERATION, body, run=run, epoch=epoch)
        until = self._parts.clock.monotonic() + LONGEST_S
        while (said := self._read(await self._sent(ask.OPERATION, content), Reply).answer) is None:
            if self._parts.clock.monotonic() > until:
                raise errors.Unavailable(
                    "partner.slow",
                    f"{self.name} is still at {ask.OPERATION} after {LONGEST_S / 3600:.0f} hours.",
                    remedy="Its operator sees in the site's log what it waits for.",
                )
            await self._parts.clock.sleep(PAUSE_S)
        return self._read(said, answer)

    async def _sent(self, operation: str, content: bytes) -> bytes:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._parts.link.call(self.name, operation, content)
            except errors.Error as error:
                if error.code != "partner.away" or attempt == TRIES:
                    raise self._told(error) from error
                await self._parts.clock.sleep(PAUSE_S)
        raise AssertionError("a bounded loop always returns or raises")

    def _told(self, error: errors.Error) -> errors.Error:
        """Return the error of the other site so that a person sees whose it is."""
        if error.code.partition(".")[0] in {"partner", "message"}:
            return error
        failure = Failure.of(error)
        return replace(failure, text=f"At {self.name}: {failure.text}").error()

    def _read(self, said: str | bytes, kind: type[T]) -> T:
        try:
            return codec.decoded(said, kind)
        except errors.Invalid as error:
            raise errors.Broken(
                "partner.answer.malformed",
                f"{self.name} answered in a form that this site does not read: {error.field}.",
                remedy=errors.SAME_RELEASE,
            ) from error
