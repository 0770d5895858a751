"""What two sites say to each other about one worker: a line of JSON each.

    the site that initiated          the site at which it runs
    opening: which ticket, which way →
                                     ←  started: its certificate, the key of the names where it receives
    the job                          →
    rate                             →
                                     ←  listening, progress, done or failed, as the worker tells them
    end                              →
                                     ←  ended: it and all it started are gone

Both count what the other says: a worker that is well tells its progress four times a second.
"""

import json
from collections.abc import Callable
from typing import Any

from crossport import errors
from crossport.model.artifact import Way
from crossport.model.record import record
from crossport.spi.partner import Lines

__all__ = ["OPERATION", "VERSION", "Opening", "Pace", "said"]

OPERATION = "worker"
VERSION = 1
_PER_S = 40.0
_BURST = 200.0


@record()
class Opening:
    """Which ticket of the partner's starts a worker, and which way it is used."""

    ticket: str
    way: Way
    version: int = VERSION


class Pace:
    """Bounds how often the other end speaks: `_PER_S` on average, `_BURST` at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left, self._at = _BURST, monotonic()

    def count(self) -> None:
        """Count a line; raise Broken (``partner.worker.flood``) when there are too many."""
        now = self._monotonic()
        self._left = min(self._left + (now - self._at) * _PER_S, _BURST) - 1
        self._at = now
        if self._left < 0:
            raise errors.Broken(
                "partner.worker.flood",
                "The partner says more about a worker than there is to say.",
                remedy="Tell the partner's operator; the copy was ended.",
            )


async def said(lines: Lines, pace: Pace, most: int) -> dict[str, Any] | None:
    """Return what the other end says next, None when it has ended well.

    Raise Broken for what is longer than ``most`` bytes, too much, or nothing that a site says.
    """
    line = await lines.receive()
    if line is None:
        return None
    pace.count()
    try:
        message = json.loads(line) if len(line) <= most else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise errors.Broken(
            "partner.worker.malformed",
            f"The partner said {len(line)} bytes that mean nothing here.",
            remedy=errors.SAME_RELEASE,
        )
    return message  # pyright: ignore[reportUnknownVariableType]
