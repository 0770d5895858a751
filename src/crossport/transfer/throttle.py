"""Hold bytes back so that no more than a rate passes, and change the rate while they flow.

A bucket holds what may pass within 100 ms. Who takes more than it holds leaves a debt that the next one waits
for, so that the rate is kept over any second whatever the size of a piece.
"""

import threading
from collections.abc import Callable

__all__ = ["Throttle"]

_BUCKET_S = 0.1
_FOREVER_S = 3600.0

Wait = Callable[[threading.Condition, float], object]


class Throttle:
    """One bound for all threads that take from it. Without a rate nobody waits."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        rate_bps: float | None = None,
        *,
        wait: Wait = threading.Condition.wait,
    ) -> None:
        """Begin with an empty debt. ``wait`` is how a thread waits: at most so long, earlier when told."""
        self._monotonic = monotonic
        self._wait = wait
        self._changed = threading.Condition()
        self._rate_bps = rate_bps
        self._allowed = 0.0
        self._at = monotonic()

    @property
    def rate_bps(self) -> float | None:
        """The rate that holds now, in bits per second; None when nothing is held back."""
        return self._rate_bps

    def rate(self, rate_bps: float | None) -> None:
        """Let ``rate_bps`` hold from now on, also for those that wait already; None lets all pass."""
        if rate_bps is not None and not rate_bps > 0:
            raise ValueError(f"a rate of {rate_bps} bit/s lets nothing pass")
        with self._changed:
            self._fill()
            self._rate_bps = rate_bps
            # A debt made at a high rate would be a long silence at a low one.
            self._allowed = max(self._allowed, -self._bucket())
            self._changed.notify_all()

    def take(self, size: int, patience_s: float = _FOREVER_S) -> bool:
        """Wait until ``size`` bytes may pass; return False when they may not within ``patience_s``.

        Who got False has taken nothing and asks again, after it has shown its peer that it lives.
        """
        deadline = self._monotonic() + patience_s
        with self._changed:
            while (missing_s := self._missing_s()) > 0:
                left_s = deadline - self._monotonic()
                if left_s <= 0:
                    return False
                self._wait(self._changed, min(missing_s, left_s))
            self._allowed -= size
            return True

    def _missing_s(self) -> float:
        """How long until the next piece may pass: the debt must be paid, the bucket need not be full."""
        self._fill()
        return 0.0 if self._rate_bps is None or self._allowed >= 0 else -self._allowed * 8 / self._rate_bps

    def _fill(self) -> None:
        now = self._monotonic()
        if self._rate_bps is None:
            self._allowed = 0.0
        else:
            gained = (now - self._at) * self._rate_bps / 8
            self._allowed = min(self._allowed + gained, self._bucket())
        self._at = now

    def _bucket(self) -> float:
        return 0.0 if self._rate_bps is None else self._rate_bps / 8 * _BUCKET_S
