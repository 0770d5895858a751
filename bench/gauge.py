"""What passes a link while time goes by: its counters, read often and at little cost."""

import ctypes
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from link import Ends

__all__ = ["Trace", "traced"]

_CLONE_NEWNET = 0x40000000  # linux/sched.h


class Trace:
    """How many bytes the source had sent at which moment, in seconds since the beginning."""

    def __init__(self) -> None:
        self.points = list[tuple[float, int]]()
        self._began = time.monotonic()

    def now(self) -> float:
        """Return this moment."""
        return time.monotonic() - self._began

    def add(self, size: int) -> None:
        """Note that so much was sent by now."""
        self.points.append((self.now(), size))

    def steps(self, every_s: float) -> list[float]:
        """Return the rates of all steps of this length, in Mbit/s."""
        count = int(self.points[-1][0] / every_s) if self.points else 0
        return [round(self.rate_mbit(at * every_s, (at + 1) * every_s), 1) for at in range(count)]

    def rate_mbit(self, start: float, stop: float) -> float:
        """Return the mean rate between two moments."""
        return (self._at(stop) - self._at(start)) * 8 / 1e6 / (stop - start)

    def _at(self, moment: float) -> float:
        """Return the bytes sent by then, as if between two readings they had flowed evenly."""
        before = (0.0, 0)
        for point in self.points:
            if point[0] >= moment:
                share = (moment - before[0]) / (point[0] - before[0]) if point[0] > before[0] else 0.0
                return before[1] + (point[1] - before[1]) * share
            before = point
        return before[1]


@contextmanager
def traced(ends: Ends, every_s: float = 0.02) -> Generator[Trace]:
    """Note what the source sends while this lasts."""
    trace, over, opened = Trace(), threading.Event(), threading.Event()

    def look() -> None:
        _enter(ends.source)
        with Path("/proc/thread-self/net/dev").open("rb", buffering=0) as counters:
            first = _sent(counters.read(65536))
            opened.set()
            while not over.wait(every_s):
                counters.seek(0)
                trace.add(_sent(counters.read(65536)) - first)

    looking = threading.Thread(target=look)
    looking.start()
    opened.wait()
    try:
        yield trace
    finally:
        over.set()
        looking.join()


def _enter(namespace: str) -> None:
    """Move this thread to a namespace; it stays there until it ends."""
    with Path("/run/netns", namespace).open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _sent(counters: bytes) -> int:
    [line] = [line for line in counters.splitlines() if line.strip().startswith(b"wire:")]
    return int(line.partition(b":")[2].split()[8])
