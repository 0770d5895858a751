"""Compare the stopped source with what arrived, while the copy starts.

What is compared is the source with the root of what was read back at the target before the copy started: what
the guest writes there from then on does not matter. Until both the comparison and the health check have
passed nobody else reaches the guest, and the source may go on where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

from crossport import errors
from crossport.migration.copying import Open
from crossport.migration.leg import PATIENT, How, Leg
from crossport.migration.step import Timed
from crossport.model.artifact import Artifact, Moved
from crossport.model.health import Health
from crossport.model.run import Act
from crossport.spi.site import Compared

__all__ = ["Comparison", "differs", "unless"]

T = TypeVar("T")
BESIDE = How(retry=PATIENT, cancellable=True)


class Comparison:
    """One comparison. ``artifacts`` are open at the source, ``again`` opens them once more."""

    def __init__(
        self, leg: Leg, artifacts: tuple[Artifact, ...], again: Open, moved: tuple[Moved, ...]
    ) -> None:
        self._leg = leg
        self._artifacts = artifacts
        self._again = again
        self._moved = moved

    async def beside(
        self, check: Callable[[], Coroutine[Any, Any, Health]]
    ) -> tuple[Timed[Health], Timed[Compared]]:
        """Compare while ``check`` goes on; return what both found.

        What decides alone ends the other: then the guest is not well for want of an answer, or the
        comparison is not whole.
        """
        over, attempts, leg = asyncio.Event(), count(), self._leg

        async def ask(act: Act) -> Health:
            del act
            return await unless(over, check()) or Health(good=False, results=(), seconds=0.0)

        async def compare(act: Act) -> Compared:
            opened = self._artifacts if next(attempts) == 0 else await self._again()
            site = await leg.source()
            comparing = _compared(site.compare(act, leg.request.source, opened, self._moved))
            return await unless(over, comparing) or Compared(whole=False)

        asked, compared = await asyncio.gather(
            _deciding(over, leg.timed("check", ask, Health, BESIDE), lambda health: not health.good),
            _deciding(over, leg.timed("compare", compare, Compared, BESIDE), lambda one: bool(one.differing)),
            return_exceptions=True,
        )
        if isinstance(compared, BaseException):
            raise compared
        if isinstance(asked, BaseException):
            raise asked
        return asked, compared


async def _compared(call: Awaitable[Compared]) -> Compared:
    return await call


async def _deciding(over: asyncio.Event, step: Awaitable[Timed[T]], decides: Callable[[T], bool]) -> Timed[T]:
    """Return what the step returned; when it failed or decides alone, the other need not go on."""
    alone = True
    try:
        timed = await step
        alone = decides(timed.value)
    finally:
        if alone:
            over.set()
    return timed


async def unless(over: asyncio.Event, call: Coroutine[Any, Any, T]) -> T | None:
    """Return what ``call`` returns, None when it is over before."""
    work, end = asyncio.ensure_future(call), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        end.cancel()
        await asyncio.gather(work, end, return_exceptions=True)


def differs(compared: Compared, cloud: str) -> errors.RolledBack:
    """Return the error for a copy that is not what the stopped source holds."""
    return errors.RolledBack(
        "warm.copy.differs",
        f"{', '.join(compared.differing)} of the copy is not what the stopped source holds: {cloud} did not "
        "tell everything that changed.",
        remedy="Migrate again with --verify repair, which copies what differs before the copy starts; and "
        "have the tracking of changes looked at.",
    )
