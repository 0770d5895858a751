"""What an end of a copy counts while it works: written by its threads, read by whoever reports."""

import threading
from dataclasses import asdict, fields, replace
from typing import Any

from crossport import errors
from crossport.model.artifact import Counters

__all__ = ["Meter", "counters_of", "number"]

_NAMES = tuple(field.name for field in fields(Counters))


class Meter:
    """The counters of one end, and how many bytes of the disk are dealt with (``done``)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._counters = Counters()

    def add(self, *, done: int = 0, **sizes: int) -> None:
        """Count: ``sizes`` are named as in Counters."""
        with self._lock:
            self._done += done
            now = self._counters
            self._counters = replace(now, **{name: getattr(now, name) + size for name, size in sizes.items()})

    def sent(self, size: int) -> None:
        """Set how many bytes the wire has taken."""
        with self._lock:
            self._counters = replace(self._counters, sent=size)

    @property
    def done(self) -> int:
        """How many bytes of the disk are dealt with."""
        return self._done

    @property
    def counters(self) -> Counters:
        """The counters as they stand."""
        return self._counters

    def told(self) -> dict[str, Any]:
        """Return both as a worker tells them."""
        with self._lock:
            return {"done": self._done, "counters": asdict(self._counters)}


def counters_of(said: dict[str, Any]) -> Counters:
    """Read what `Meter.told` told; raise Broken for what is none."""
    told = said.get("counters")
    if not isinstance(told, dict) or told.keys() != set(_NAMES):
        raise errors.Broken("transfer.worker.malformed", "A worker told no sound counters.")
    return Counters(**{name: number(told, name) for name in _NAMES})  # pyright: ignore[reportUnknownArgumentType]


def number(said: dict[str, Any], name: str) -> int:
    """Return a count that a worker told; raise Broken for what is none."""
    count = said.get(name)
    if type(count) is not int or not 0 <= count < 1 << 63:
        raise errors.Broken("transfer.worker.malformed", f"A worker told no sound {name}.")
    return count
