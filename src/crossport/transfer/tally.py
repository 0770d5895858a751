"""What both ends of a copy told so far, as one progress."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crossport.model.artifact import Counters, Moved, Progress
from crossport.spi.clock import Clock
from crossport.transfer.meter import counters_of, number

__all__ = ["STALLED_S", "Tally"]

STALLED_S = 5.0
"""When nothing has arrived for so long, what is waited for is told."""
_LEAST_MS = 1000
_CAUSES = ("source", "link", "target", "flush", "limit")


class Tally:
    """The progress of one copy of ``size`` bytes, passed to ``report`` as it grows."""

    def __init__(self, artifact: str, size: int, clock: Clock, report: Callable[[Progress], None]) -> None:
        self._artifact = artifact
        self._size = size
        self._clock = clock
        self._report = report
        self._began = self._moved = clock.monotonic()
        self._done = 0
        self._sent: Counters = Counters()
        self._received: Counters = Counters()
        self._waits: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def from_sender(self, said: dict[str, Any]) -> None:
        """Take in what the sender tells."""
        self._sent = counters_of(said)
        self._waits = (_waits_of(said), self._waits[1])
        self._report(self._progress())

    def from_receiver(self, said: dict[str, Any]) -> None:
        """Take in what the receiver tells: what it has written counts, not what the sender believes."""
        done = min(max(self._done, number(said, "done")), self._size)
        received = counters_of(said)
        if done > self._done or received != self._received:
            self._moved = self._clock.monotonic()
        self._done, self._received = done, received
        self._waits = (self._waits[0], _waits_of(said))
        self._report(self._progress())

    def moved(self, chunk_size: int, root: str) -> Moved:
        """Return the result."""
        return Moved(
            artifact=self._artifact,
            size=self._size,
            chunk_size=chunk_size,
            root=root,
            counters=self._counters(),
            seconds=self._clock.monotonic() - self._began,
        )

    def _counters(self) -> Counters:
        """Each end tells what it knows best: what was read and sent, what was written and left out."""
        left_out = ("written", "zero", "present", "unchanged", "shared")
        received: Counters = self._received
        return replace(self._sent, **{name: getattr(received, name) for name in left_out})

    def _progress(self) -> Progress:
        now = self._clock.monotonic()
        seconds = now - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        return Progress(
            artifact=self._artifact,
            size=self._size,
            done=self._done,
            counters=self._counters(),
            rate_bps=rate * 8,
            seconds_left=(self._size - self._done) / rate if rate else None,
            waits_for=self._cause() if now - self._moved >= STALLED_S and self._done < self._size else "",
        )

    def _cause(self) -> str:
        """Return what holds the copy up: an end's own wait, or else the link between them."""
        sender, receiver = self._waits
        own = [(receiver, "target"), (receiver, "flush"), (sender, "source"), (sender, "limit")]
        return next((cause for waits, cause in own if waits.get(cause, 0) >= _LEAST_MS), "link")


def _waits_of(said: dict[str, Any]) -> dict[str, int]:
    told: dict[str, Any] = said.get("waits") or {}
    return {cause: number(told, cause) for cause in _CAUSES if cause in told}
