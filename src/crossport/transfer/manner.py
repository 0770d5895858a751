"""How a copy is made, and how long its ends wait for each other."""

import time
from dataclasses import dataclass, field

from crossport import errors
from crossport.transfer.channel import is_of_the_link
from crossport.transfer.frame import MAX_CONNECTIONS, Hello

__all__ = ["PAUSE_S", "Manner", "Patience", "Terms", "connections_over"]

PAUSE_S = 0.5
"""How long the sender waits before it connects anew."""


_LEAST = 2
# What a socket may buffer bounds a stream. Without BBR it also halves its rate for each packet lost and wins
# it back over round trips: when one in a thousand is, it has 40 packets under way (Mathis et al., 1997).
_ENOUGH_BELOW_S = ((0.002, 2), (0.008, 4), (0.03, 8))


@dataclass(frozen=True, slots=True)
class Manner:
    """Over how many connections at most, how long a link may be away, how many chunks may arrive damaged."""

    connections: int = MAX_CONNECTIONS
    patience_s: float = 120.0
    damage_limit: int = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """What is copied, and how.

    ``hello.version`` is the newest that this end speaks. ``key`` is that of the names; unless it is
    ``agreed`` it is the receiver's own, which tells it.
    """

    hello: Hello
    manner: Manner
    key: bytes = field(repr=False)
    agreed: bool = True


def connections_over(round_trip_s: float, *, by_rate: bool) -> int:
    """Return how many connections fill a link of this round trip, although it loses a packet now and then.

    ``by_rate`` says that each of them goes by the rate that it measures, not by what is lost.
    """
    count = next((count for below_s, count in _ENOUGH_BELOW_S if round_trip_s < below_s), MAX_CONNECTIONS)
    return max(_LEAST, count // 2) if by_rate else count


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
