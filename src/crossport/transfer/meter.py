"""What an end of a copy counts while it works: written by its threads, read by whoever reports."""

import threading
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, TypeAlias

from crossport import errors
from crossport.model.artifact import Counters

__all__ = ["Cause", "Meter", "counters_of", "number"]

Cause: TypeAlias = Literal["source", "link", "target", "flush", "limit", "peer"]
"""What a thread of a copy waits for: a disk to read, the network, a disk to write, its flush, the rate limit,
or the other end."""
_NAMES = tuple(field.name for field in fields(Counters))
_NEWER = ("offered", "shared")
"""Told apart from the others, so that a site or a worker of the release before is not confused."""


class _Wait:
    """A wait of one thread. No generator: there are some for each chunk, and this costs half as much."""

    __slots__ = ("_began", "_cause", "_ended", "_waiting")

    def __init__(
        self,
        cause: Cause,
        waiting: dict[int, tuple[Cause, float]],
        ended: Callable[[Cause, float], None],
    ) -> None:
        self._cause: Cause = cause
        self._waiting = waiting
        self._ended = ended
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self._waiting[threading.get_ident()] = (self._cause, self._began)

    def __exit__(self, *_: object) -> None:
        del self._waiting[threading.get_ident()]
        self._ended(self._cause, time.monotonic() - self._began)


class Meter:
    """The counters of one end, and how many bytes of the disk are dealt with (``done``)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._sizes = dict.fromkeys(_NAMES, 0)
        self._waiting: dict[int, tuple[Cause, float]] = {}
        self._waited: dict[Cause, float] = {}

    def waits(self, cause: Cause) -> "_Wait":
        """Return a context for what this thread waits for: it is noted while that lasts."""
        return _Wait(cause, self._waiting, self._ended)

    def _ended(self, cause: Cause, seconds: float) -> None:
        with self._lock:
            self._waited[cause] = self._waited.get(cause, 0.0) + seconds

    def move(self, cause: Cause, seconds: float, to: Cause | None = None) -> None:
        """Take some of what was noted as a wait for ``cause`` from it: it was for another, or for nothing."""
        with self._lock:
            self._waited[cause] = self._waited.get(cause, 0.0) - seconds
            if to is not None:
                self._waited[to] = self._waited.get(to, 0.0) + seconds

    def waited(self, cause: Cause) -> float:
        """Return for how many seconds threads waited for ``cause`` together, but for waits that go on."""
        return self._waited.get(cause, 0.0)

    def add(self, *, done: int = 0, **sizes: int) -> None:
        """Count: ``sizes`` are named as in Counters."""
        with self._lock:
            self._done += done
            for name, size in sizes.items():
                self._sizes[name] += size

    @property
    def done(self) -> int:
        """How many bytes of the disk are dealt with."""
        return self._done

    @property
    def counters(self) -> Counters:
        """The counters as they stand."""
        with self._lock:
            return Counters(**self._sizes)

    def told(self) -> dict[str, Any]:
        """Return it as a worker tells it; ``waits`` has the longest wait that goes on, in ms by cause."""
        now, waits = time.monotonic(), dict[str, int]()
        for cause, began in list(self._waiting.values()):
            waits[cause] = max(waits.get(cause, 0), round((now - began) * 1000))
        with self._lock:
            newer = {name: self._sizes[name] for name in _NEWER}
            older = {name: size for name, size in self._sizes.items() if name not in newer}
            return {"done": self._done, "counters": older, "newer": newer, "waits": waits}


def counters_of(said: dict[str, Any]) -> Counters:
    """Read what `Meter.told` told; raise Broken for what is none."""
    told, newer = said.get("counters"), said.get("newer", {})
    if not isinstance(told, dict) or not isinstance(newer, dict) or told.keys() != set(_NAMES) - set(_NEWER):
        raise errors.Broken(
            "transfer.worker.malformed", "A worker told no sound counters.", remedy=errors.SAME_RELEASE
        )
    all_told: dict[str, Any] = {**dict.fromkeys(_NEWER, 0), **newer, **told}
    return Counters(**{name: number(all_told, name) for name in _NAMES})


def number(said: dict[str, Any], name: str) -> int:
    """Return a count that a worker told; raise Broken for what is none."""
    count = said.get(name)
    if type(count) is not int or not 0 <= count < 1 << 63:
        raise errors.Broken(
            "transfer.worker.malformed", f"A worker told no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return count
