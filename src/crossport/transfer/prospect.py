"""Whether to offer a chunk, or to send it at once: judged by what came of those that were offered before.

To name a chunk and its blocks costs both ends time, and where the target has nothing of a disk it is wasted.
So after a while without success only samples are offered, each some way behind the last, so that content that
is known and lies further on is found nevertheless.
"""

import threading

__all__ = ["IN_VAIN", "Prospect"]

IN_VAIN = 32
"""Chunks that are offered in vain before only samples are."""
_FOR_EACH_FOUND = 32  # to look for a chunk costs about as much as to send a few of its blocks
# Chunks between two samples: at first, and at most.
_FIRST_GAP, _LARGEST_GAP = 32, 128


class Prospect:
    """For all connections of one sender. Any thread may call it.

    ``is_open`` says that nothing was found yet: few are offered before answers are heard.
    """

    def __init__(self) -> None:
        self._vain = float(IN_VAIN)
        self._insisted = False
        self.is_open = True
        self._gap = _FIRST_GAP
        self._skips = self._gap
        self._changing = threading.Lock()

    def takes(self, count: int) -> bool:
        """Say whether the next ``count`` chunks are to be offered."""
        if self._insisted or self._vain > 0:
            return True
        with self._changing:
            self._skips -= count
            if self._skips >= 0:
                return False
            self._gap = min(2 * self._gap, _LARGEST_GAP)
            self._skips = self._gap
            return True

    def insist(self) -> None:
        """Offer all from now on: somebody else may wait for what is offered here, though nothing is found."""
        self._insisted, self.is_open = True, False

    def answered(self, found: float) -> None:
        """Take note of a chunk that was offered, of which this share was found."""
        with self._changing:
            self.is_open = self.is_open and not found
            self._vain = min(max(self._vain, 0.0) - 1 + found * _FOR_EACH_FOUND, IN_VAIN)
            if self._vain > 0:
                self._gap = self._skips = _FIRST_GAP
