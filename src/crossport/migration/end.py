"""Where each end of a run stands, kept durably: the state tables of the start permit with a memory."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from crossport import errors
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, TargetState, after
from crossport.model.permit import Fence, StatementKind
from crossport.model.record import record
from crossport.model.sealing import Admission, ClaimedDisk
from crossport.model.vm import PowerState
from crossport.spi.document import Documents

__all__ = ["SEALED", "AdmittedImage", "Ends", "Hold", "Landing", "settled"]

T = TypeVar("T")
SEALED = "sealed-image"
"""The kind under which the source's end keeps the image that it sealed."""
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
    """The certified image of a run, whose seal was verified: which ``disks`` it names, and its descriptor
    (base64).

    ``envelope`` is the SHA-256 of the seal's envelope. Until it is ``accepted`` its nonce may not be spent.
    """

    envelope: str
    descriptor: str
    disks: tuple[ClaimedDisk, ...]
    admission: Admission
    accepted: bool = False


@record()
class Landing:
    """The target's end of a run: how far the permit is, whether what was written is verified, and its image.

    ``opened``: the copy was opened to its networks, as its state allows.
    """

    cloud: str = ""
    state: TargetState = TargetState.EMPTY
    verified: bool = False
    opened: bool = False
    image: AdmittedImage | None = None


def settled(hold: Hold | None, landing: Landing) -> bool:
    """Say whether one of both ends is the VM now, with nothing left to be decided or undone."""
    if hold is None or not hold.vm:
        return True  # no VM was ever taken from its source
    if hold.state is SourceState.COMMITTED:
        return landing.opened
    return hold.state is SourceState.RELEASED and hold.returned


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
            lambda known: replace(known, verified=False, image=None) if known else first,
        )

    async def admitted(self, run: str, image: AdmittedImage) -> None:
        """Note the certified image of what was written."""
        await self._change("target-end", run, Landing, lambda known: replace(known or Landing(), image=image))

    async def verified(self, run: str) -> None:
        """Note that what was written is what the source sent."""
        await self._change(
            "target-end", run, Landing, lambda known: replace(known or Landing(), verified=True)
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

    async def settled(self, run: str) -> bool:
        """Say whether one of both ends is the VM now, with nothing left to be decided or undone."""
        return settled(await self.hold(run), await self.landing(run))

    async def forget(self, run: str) -> None:
        """Forget both ends, and the image that was sealed. What was accepted is remembered."""
        for kind in ("source-end", "target-end", SEALED):
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
