"""How a copy is made, and how long its ends wait for each other."""

import time
from dataclasses import dataclass, field

from crossport import errors
from crossport.transfer.channel import is_of_the_link
from crossport.transfer.frame import Hello

__all__ = ["PAUSE_S", "Manner", "Patience", "Terms"]

PAUSE_S = 0.5
"""How long the sender waits before it connects anew."""


@dataclass(frozen=True, slots=True)
class Manner:
    """Over how many connections, how long a link may be away, and how many chunks may arrive damaged."""

    connections: int = 2
    patience_s: float = 120.0
    damage_limit: int = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """What is copied, and how.

    ``hello.version`` is the newest that this end speaks. ``key`` is that of the names, if both ends know it.
    """

    hello: Hello
    manner: Manner
    key: bytes = field(default=b"", repr=False)


class Patience:
    """Whether it is worth to connect once more."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since = 0.0
        self._done = -1

    def left(self, error: errors.Error, done: int) -> bool:
        """Say whether to go on after ``error``, now that ``done`` chunks are settled."""
        now = time.monotonic()
        if done > self._done:
            self._done, self._since = done, now
        return is_of_the_link(error) and now - self._since < self._patience_s
