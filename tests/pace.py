"""How slow this machine is just now, so that a bound in seconds means the same work on every machine."""

import hashlib
import time

_BLOCK = bytes(1 << 16)
_ORDINARY_S = 0.01
"""What the work below takes on the machine for which bounds are written."""


def _work() -> float:
    """Return the CPU seconds that a fixed piece of work takes: half of it in the interpreter."""
    began = time.thread_time()
    total = 0
    for number in range(200_000):
        total += number & 7
    for _ in range(16 * 8):
        hashlib.sha256(_BLOCK).digest()
    return time.thread_time() - began


def slower() -> float:
    """Return how many times slower than an ordinary machine this one is, at least 1."""
    return max(1.0, min(_work() for _ in range(3)) / _ORDINARY_S)
