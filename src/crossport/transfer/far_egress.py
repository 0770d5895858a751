"""The egress guard of a worker, which sits with its starter: names are resolved and judged there.

A worker is confined and knows no resolver. It puts each URL to its starter, redirects too, and connects to
the address that comes back; what its starter does not admit it cannot even find.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from crossport import errors
from crossport.transfer.egress import Endpoint, Guard
from crossport.transfer.job import failure_from, failure_line

__all__ = ["FarEgress", "judged"]

_ANSWER_S = 60.0
_LONGEST = 4096


class FarEgress:
    """Implements `crossport.transfer.egress.Guard` in a worker. ``ask`` says a line to its starter."""

    def __init__(self, ask: Callable[[dict[str, Any]], None]) -> None:
        self._ask = ask
        self._one_at_a_time = threading.Lock()
        self._answers = queue.SimpleQueue[dict[str, Any]]()

    def endpoint(self, url: str) -> Endpoint:
        """Return where to connect; raise what the guard raises, Unavailable when nobody answers."""
        with self._one_at_a_time:
            self._ask({"event": "reach", "url": url[:_LONGEST]})
            try:
                said = self._answers.get(timeout=_ANSWER_S)
            except queue.Empty:
                raise errors.Unavailable(
                    "egress.name.unknown",
                    "Nobody says to which address the name leads.",
                    remedy="Correct the name, or the resolver of the machine that fetches.",
                ) from None
        if said["endpoint"] is None:
            raise failure_from(said)
        return Endpoint(**said["endpoint"])

    def answered(self, said: dict[str, Any]) -> None:
        """Take in what the starter answers."""
        self._answers.put(said)


def judged(guard: Guard, url: object) -> dict[str, Any]:
    """Return the order that answers a worker's question. The URL comes from hostile bytes, perhaps."""
    try:
        return {"do": "reach", "endpoint": asdict(guard.endpoint(str(url)[:_LONGEST]))}
    except errors.Error as error:
        return {**failure_line(error), "do": "reach", "endpoint": None}
