"""Drivers and a mover that note when they were busy, so that what is left of a migration can be told."""

import inspect
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from crossport.clouds import local
from crossport.clouds.local.driver import LocalCloud
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket
from crossport.model.request import CloudEntry
from crossport.spi.cloud import Cloud
from crossport.spi.driver import Connect
from crossport.spi.mover import Mover
from crossport.spi.secret import Secrets

__all__ = ["Intervals", "TimedMover", "timed_driver"]

PAUSE_S = 1.5
"""A health check asks once a second; what takes longer between two questions is not its pause."""


class Intervals:
    """Intervals with names. Pauses between the probes of one guest count as waiting for the guest."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float, str]] = []
        self.began = 0.0

    def clear(self) -> None:
        """Forget all, and begin now."""
        self._found.clear()
        self.began = time.monotonic()

    def add(self, began: float, name: str) -> None:
        """Note that ``name`` went on from ``began`` until now."""
        self._found.append((began, time.monotonic(), name))

    def covered(self, start: float, end: float) -> float:
        """Return the seconds between ``start`` and ``end`` in which anything went on."""
        return end - start - sum(gap for gap, _, _ in self._between(start, end))

    def gaps(self, start: float, length_s: float) -> list[tuple[float, str, str]]:
        """Return the times in which nothing went on, longest first, with what was before and after."""
        return sorted(self._between(start, start + length_s), reverse=True)

    def _between(self, start: float, end: float) -> list[tuple[float, str, str]]:
        found: list[tuple[float, str, str]] = []
        last, before = start, "begin"
        for began, ended, name in [*sorted(self._whole()), (end, end, "end")]:
            if min(began, end) > last:
                found.append((min(began, end) - last, before, name))
            if ended > last:
                last, before = ended, name
        return found

    def _whole(self) -> list[tuple[float, float, str]]:
        """Return the intervals, and with them the pauses between two probes that follow one another."""
        found = sorted(self._found)
        pauses = [
            (first[1], second[0], "probe")
            for first, second in pairwise(found)
            if first[2] == second[2] == "probe" and second[0] - first[1] <= PAUSE_S
        ]
        return [*found, *pauses]


class TimedMover:
    """A mover that notes when it copies and when it verifies."""

    def __init__(self, mover: Mover, calls: Intervals) -> None:
        self._mover = mover
        self._calls = calls

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """As the mover within."""
        began = time.monotonic()
        try:
            return await self._mover.move(read, write, report)
        finally:
            self._calls.add(began, "move")

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None
    ) -> Digest:
        """As the mover within."""
        began = time.monotonic()
        try:
            return await self._mover.digest(ref, place, chunk_size, copied)
        finally:
            self._calls.add(began, "digest")

    async def forget(self, run: str) -> None:
        """As the mover within."""
        await self._mover.forget(run)


def timed_driver(calls: Intervals) -> dict[str, Connect]:
    """Return the driver of embedded clouds with every call noted, as the site's only driver."""

    def noted(name: str, method: Any) -> Any:
        async def call(self: Any, *given: Any, **named: Any) -> Any:
            began = time.monotonic()
            try:
                return await method(self, *given, **named)
            finally:
                calls.add(began, name)

        return call

    methods = {
        name: noted(name, method)
        for name, method in vars(LocalCloud).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    timed = type("TimedCloud", (LocalCloud,), methods)

    async def connect(entry: CloudEntry, secrets: Secrets) -> Cloud:
        cloud = await local.connect(entry, secrets)
        cloud.__class__ = timed
        return cloud

    return {"local": connect}
