"""Where each end of a run stands, kept durably: the state tables of the start permit with a memory."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from crossport import errors
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, TargetState, after
from crossport.model.certified import Check
from crossport.model.conversion import Converted
from crossport.model.inspection import Inspected
from crossport.model.permit import Fence, StatementKind
from crossport.model.record import record
from crossport.model.sealing import Admission, ClaimedDisk
from crossport.model.vm import PowerState
from crossport.spi.document import Documents

__all__ = ["SEALED", "SURVEY", "AdmittedImage", "Ends", "Hold", "LandedConversion", "Landing", "settled"]

T = TypeVar("T")
SEALED = "sealed-image"
"""The kind under which the source's end keeps the image that it sealed."""
SURVEY = "guest-survey"
"""The kind under which the source's end keeps what it has found in the guest."""
_ATTEMPTS = 10


@record()
class Hold:
    """The source's end of a run: which VM, what it was before, and how far the permit is.

    ``returned``: it was brought back as it was. ``retired``: it was deleted after the commit.
    """

    cloud: str = ""
    vm: str = ""
    was: PowerState = PowerState.STOPPED
    state: SourceState = SourceState.FREE
    fence: Fence = Fence()
    returned: bool = False
    retired: bool = False


@record()
class AdmittedImage:
    """The certified image of a run, whose seal was verified: which ``disks`` it names, its descriptor and
    its SBOM, if it has one (base64).

    ``envelope`` is the SHA-256 of the seal's envelope, ``statement`` what it holds (base64). Until it is
    ``accepted`` its nonce may not be spent.
    """

    envelope: str
    descriptor: str
    disks: tuple[ClaimedDisk, ...]
    admission: Admission
    accepted: bool = False
    sbom: str = ""
    statement: str = ""


@record()
class LandedConversion:
    """A guest conversion that was begun: what the tool had done when it was, and the site's attestation (the
    envelope, base64) from when it was made."""

    done: Converted | None = None
    attestation: str = ""


@record()
class Landing:
    """The target's end of a run: how far the permit is, whether what was written is verified, and its image.

    ``opened``: the copy was opened to its networks, as its state allows. ``checks``: how those ended that
    this site made itself; ``passed``: they were what its policy wants, when it first said that the copy
    stands here. ``inspected`` is what was found in the guest that lies there, ``conversion`` what
    became of it.
    """

    cloud: str = ""
    state: TargetState = TargetState.EMPTY
    verified: bool = False
    opened: bool = False
    image: AdmittedImage | None = None
    checks: tuple[Check, ...] = ()
    passed: bool = False
    inspected: Inspected | None = None
    conversion: LandedConversion | None = None


def settled(hold: Hold | None, landing: Landing) -> bool:
    """Say whether one of both ends is the VM now, with nothing left to be decided or undone."""
    if hold is None or not hold.vm:
        return True  # no VM was ever taken from its source
    if hold.state is SourceState.COMMITTED:
        return landing.opened
    return hold.state is SourceState.RELEASED and hold.returned


def _unverified(landing: Landing) -> Landing:
    """Return the target's end as it is before anything was verified of what lies there."""
    return replace(landing, verified=False, checks=(), passed=False, inspected=None)


class Ends:
    """Both ends of this site's runs. A change is read, decided by the table and written, or made again."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def hold(self, run: str) -> Hold | None:
        """Return the source's end, None when the run never held a VM here."""
        try:
            return (await self._documents.fetch("source-end", run, Hold)).value
        except errors.NotFound:
            return None

    async def begin_hold(self, run: str, first: Hold) -> Hold:
        """Return the source's end, which is ``first`` when there was none: what the VM was is kept."""
        return await self._change("source-end", run, Hold, lambda known: known or first)

    async def landing(self, run: str) -> Landing:
        """Return the target's end."""
        try:
            return (await self._documents.fetch("target-end", run, Landing)).value
        except errors.NotFound:
            return Landing()

    async def begin_landing(self, run: str, first: Landing) -> None:
        """Begin the target's end, unless it has begun; what is written from now on is unverified."""
        await self._change(
            "target-end",
            run,
            Landing,
            lambda known: replace(_unverified(known), image=None, conversion=None) if known else first,
        )

    async def admitted(self, run: str, image: AdmittedImage) -> None:
        """Note the certified image of what was written. What was verified of another one counts no more."""

        def noted(known: Landing | None) -> Landing:
            known = known or Landing()
            if known.image is None or known.image.envelope != image.envelope:
                known = _unverified(known)
            return replace(known, image=image)

        await self._change("target-end", run, Landing, noted)

    async def verified(self, run: str, envelope: str, found: Inspected, checks: tuple[Check, ...]) -> None:
        """Note that what was written is what the source sent, and what was ``found`` in it by ``checks``.

        Raise Refused (``image.unverified``) unless the image of ``envelope`` is still what lies there.
        """

        def noted(known: Landing | None) -> Landing:
            if known is None or known.image is None or known.image.envelope != envelope:
                raise errors.Refused(
                    "image.unverified",
                    "Something else was written while this was verified.",
                    remedy=f"See how far it is with: crossport run show {run}",
                )
            if not found.made:
                return replace(known, verified=True)
            made = {one.name for one in checks}
            others = tuple(one for one in known.checks if one.name not in made)
            return replace(known, verified=True, inspected=found, checks=(*others, *checks))

        await self._change("target-end", run, Landing, noted)

    async def passed(self, run: str) -> None:
        """Note that the guest may leave quarantine, whatever the policy says later."""
        await self._change("target-end", run, Landing, lambda known: replace(known or Landing(), passed=True))

    async def converted(self, run: str, conversion: LandedConversion) -> None:
        """Note how far the conversion of the guest is."""
        await self._change(
            "target-end", run, Landing, lambda known: replace(known or Landing(), conversion=conversion)
        )

    async def opened(self, run: str) -> None:
        """Note that the copy is open to its networks."""
        await self._change("target-end", run, Landing, lambda known: replace(known or Landing(), opened=True))

    async def returned(self, run: str) -> None:
        """Note that the source's VM is as it was before."""
        await self._change("source-end", run, Hold, lambda known: replace(known or Hold(), returned=True))

    async def retired(self, run: str) -> None:
        """Note that the retained source was deleted."""
        await self._change("source-end", run, Hold, lambda known: replace(known or Hold(), retired=True))

    async def committed(self, run: str) -> bool:
        """Say whether what was decided here is not taken back any more: the start is permitted, or made."""
        hold = await self.hold(run)
        if hold is not None and hold.state is SourceState.COMMITTED:
            return True
        return (await self.landing(run)).state is TargetState.OPEN

    async def settled(self, run: str) -> bool:
        """Say whether one of both ends is the VM now, with nothing left to be decided or undone."""
        return settled(await self.hold(run), await self.landing(run))

    async def sealed_by(self, site: str) -> tuple[tuple[str, AdmittedImage], ...]:
        """Return the images that a site sealed and this one admitted, each with its run."""
        found: list[tuple[str, AdmittedImage]] = []
        after = ""
        while page := await self._documents.list("target-end", Landing, after=after):
            images = ((one.key, one.value.image) for one in page)
            found += [(run, image) for run, image in images if image and image.admission.site == site]
            after = page[-1].key
        return tuple(found)

    async def forget(self, run: str) -> None:
        """Forget both ends, the image that was sealed, and what was found in the guest.

        What was accepted is remembered.
        """
        for kind in ("source-end", "target-end", SEALED, SURVEY):
            await self._documents.delete(kind, run)

    async def source(self, run: str, event: SourceEvent, *, fence: Fence | None = None) -> StatementKind:
        """Move the source's end by ``event`` and return what it states; raise Refused."""
        stated: list[StatementKind] = []

        def moved(known: Hold | None) -> Hold:
            known = known or Hold()
            state, kind = after(known.state, event)
            assert isinstance(state, SourceState)  # noqa: S101 - the tables do not mix
            stated[:] = [kind] if kind else []
            return replace(known, state=state, fence=fence or known.fence)

        await self._change("source-end", run, Hold, moved)
        return stated[0]

    async def target(self, run: str, event: TargetEvent) -> StatementKind | None:
        """Move the target's end by ``event`` and return what it states; raise Refused."""
        stated: list[StatementKind | None] = [None]

        def moved(known: Landing | None) -> Landing:
            known = known or Landing()
            state, stated[0] = after(known.state, event)
            assert isinstance(state, TargetState)  # noqa: S101 - the tables do not mix
            return replace(known, state=state)

        await self._change("target-end", run, Landing, moved)
        return stated[0]

    async def _change(self, kind: str, key: str, model: type[T], change: Callable[[T | None], T]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                document = await self._documents.fetch(kind, key, model)
                known, generation = document.value, document.generation
            except errors.NotFound:
                known, generation = None, 0
            value = change(known)
            if value == known:
                return value
            try:
                await self._documents.put(kind, key, value, generation=generation)
            except errors.Conflict:
                continue
            return value
        raise errors.Unavailable(
            "site.end.contended", f"{kind} of {key} is being changed all the time.", remedy=errors.TRIED_AGAIN
        )
