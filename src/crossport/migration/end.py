"""Where each end of a run stands, kept durably: the state tables of the start permit with a memory."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from crossport import errors
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, TargetState, after
from crossport.model.permit import Fence, StatementKind
from crossport.model.record import record
from crossport.model.vm import PowerState
from crossport.spi.document import Documents

__all__ = ["Ends", "Hold", "Landing"]

T = TypeVar("T")
_ATTEMPTS = 10


@record()
class Hold:
    """The source's end of a run: which VM, what it was before, and how far the permit is."""

    cloud: str = ""
    vm: str = ""
    was: PowerState = PowerState.STOPPED
    state: SourceState = SourceState.FREE
    fence: Fence = Fence()


@record()
class Landing:
    """The target's end of a run: how far the permit is, and whether what was written is verified."""

    cloud: str = ""
    state: TargetState = TargetState.EMPTY
    verified: bool = False


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
            "target-end", run, Landing, lambda known: replace(known, verified=False) if known else first
        )

    async def verified(self, run: str) -> None:
        """Note that what was written is what the source sent."""
        await self._change(
            "target-end", run, Landing, lambda known: replace(known or Landing(), verified=True)
        )

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
        raise errors.Unavailable("site.end.contended", f"{kind} of {key} is being changed all the time.")
