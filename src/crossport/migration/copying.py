"""Copy artifacts one after the other, each in a durable step.

When a copy is made again both ends are opened again first: whoever served them may have died with the last
attempt.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count

from crossport.migration.leg import How, Leg
from crossport.migration.step import Room, Timed
from crossport.migration.teller import telling
from crossport.model.artifact import Artifact, Heat, Moved, Progress, Ticket, Way
from crossport.model.run import Act, Event, EventKind
from crossport.spi.cloud import RoomFor
from crossport.units import MIB

__all__ = ["Copying", "Open", "Pair", "Rooms"]

HEADWAY = 64 * MIB
"""A copy that was made again got further when it is so many bytes on: as many as one may have to repeat."""
Open = Callable[[], Awaitable[tuple[Artifact, ...]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """An artifact of the source, and the volume it goes to.

    ``heat`` is what the copy before told of it; where this one ``defers`` it may leave out what is hot.
    """

    source: Artifact
    target: Artifact
    heat: tuple[Heat, ...] = ()
    defers: bool = False


class Rooms:
    """Volumes at the target that one step makes."""

    def __init__(self, leg: Leg, step: str, rooms: tuple[RoomFor, ...]) -> None:
        self._leg = leg
        self._step = step
        self._rooms = rooms

    async def make(self, how: How) -> Timed[Room]:
        """Make them, open for writing."""

        async def prepare(act: Act) -> Room:
            return Room(artifacts=await self._opened(act))

        return await self._leg.timed(self._step, prepare, Room, how)

    async def again(self) -> tuple[Artifact, ...]:
        """Open them once more."""
        return await self._opened(self._leg.context.act(self._step))

    async def _opened(self, act: Act) -> tuple[Artifact, ...]:
        site = await self._leg.target()
        return await site.prepare_import(act, self._leg.request.target, self._rooms)


class Copying:
    """Copies what is open. ``sources`` and ``targets`` open everything once more, and return it."""

    def __init__(self, leg: Leg, sources: Open, targets: Open) -> None:
        self._leg = leg
        self._sources = sources
        self._targets = targets

    async def copy(self, step: str, pair: Pair, how: How) -> Timed[Moved]:
        """Copy one artifact; return when it is verified at the target."""
        leg, attempts, reached = self._leg, count(), 0
        request, parts = leg.request, leg.parts

        async def copy(act: Act) -> Moved:
            now = pair if next(attempts) == 0 else await self._opened_again(pair)
            read = await (await leg.source()).ticket(act, request.source, now.source, Way.READ)
            read = replace(read, heat=pair.heat, defers=pair.defers)
            write = await (await leg.target()).ticket(act, request.target, now.target, Way.WRITE)
            await self._tell_unopened(write)
            async with telling(leg.context, parts.clock) as report:

                def tell(progress: Progress) -> None:
                    nonlocal reached
                    reached = max(reached, min(progress.done, read.ref.size))
                    report(progress)

                moved = await parts.mover.move(read, write, tell)
                report(_whole(moved))
            return moved

        retry = replace(how.retry, headway=lambda: reached // HEADWAY)
        return await leg.timed(step, copy, Moved, replace(how, retry=retry))

    async def _tell_unopened(self, write: Ticket) -> None:
        """Add to the run's story that more may cross than need be: not a reason to fail."""
        if write.unopened:
            target = self._leg.request.target
            text = f"{write.artifact}: published images of {target} were not opened: {write.unopened}"
            await self._leg.context.emit(Event(kind=EventKind.LOG, text=text))

    async def _opened_again(self, pair: Pair) -> Pair:
        source, target = await self._sources(), await self._targets()
        return replace(pair, source=_of(source, pair.source), target=_of(target, pair.target))


def _of(artifacts: tuple[Artifact, ...], wanted: Artifact) -> Artifact:
    return next((one for one in artifacts if one.name == wanted.name), wanted)


def _whole(moved: Moved) -> Progress:
    return Progress(
        artifact=moved.artifact,
        size=moved.size,
        done=moved.size,
        counters=moved.counters,
        rate_bps=moved.counters.sent * 8 / moved.seconds if moved.seconds else 0.0,
        seconds_left=0.0,
    )
