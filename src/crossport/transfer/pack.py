"""Compressing chunks as hard as the link is slow.

Where the threads wait for the link or for the rate limit there is time to compress harder; where they wait
for nothing, compression is what holds the copy up, and it is eased. While a disk holds it up, at either end,
neither would help. A level that was eased and brought waits for the link at once was eased too far: it is not
tried again for a while, and for longer each time. What does not compress goes as it is, after a look at two
small samples.
"""

import math
import threading
import time

import zstandard

from crossport.transfer.meter import Cause, Meter

__all__ = ["LEVELS", "Gear", "Packer"]

LEVELS = (None, -5, -1, 1, 2, 3, 5, 7, 9)
"""From no compression to the hardest, as zstd counts."""
# Shares of the threads' time that they wait for the link. The network's own buffers fill first, so that a
# short while without any wait says nothing.
_EASE_BELOW, _HARDEN_ABOVE = 0.05, 0.3
# With a larger share of waits for anything, it is not the processor that holds the copy up.
_BUSY_BELOW = 0.3
_LINK: tuple[Cause, ...] = ("link", "limit")
_DISKS: tuple[Cause, ...] = ("source", "peer")
_EASE_AFTER = 3
_FIRST_HOLD_S, _LONGEST_HOLD_S = 2.0, 64.0
_FAR_ABOVE = (0.6, 0.8)
_SAMPLE = 4 << 10


class Gear:
    """Which of LEVELS is used, judged by shares of the threads' time. Pure: the caller tells the time."""

    def __init__(self) -> None:
        self.place = LEVELS.index(1)
        self._unhindered = 0
        self._eased = -math.inf
        self._hold_s = _FIRST_HOLD_S
        self._held_until = -math.inf

    def judge(self, link: float, disks: float, now: float) -> None:
        """Choose anew; ``link`` and ``disks`` are the shares of the last while spent waiting for these."""
        at_work = link < _EASE_BELOW and link + disks < _BUSY_BELOW
        self._unhindered = self._unhindered + 1 if at_work else 0
        if link > _HARDEN_ABOVE:
            self._harden(1 + sum(link > above for above in _FAR_ABOVE), now)
        elif self._unhindered >= _EASE_AFTER and now >= self._held_until and self.place:
            # Once it is clear that the link does not hold the copy up, each further look is enough.
            self.place -= 1
            self._eased, self._unhindered = now, _EASE_AFTER - 1

    def _harden(self, steps: int, now: float) -> None:
        if now - self._eased < _FIRST_HOLD_S:
            self._held_until = now + self._hold_s
            self._hold_s = min(self._hold_s * 2, _LONGEST_HOLD_S)
            self._eased = -math.inf
        self.place = min(self.place + steps, len(LEVELS) - 1)


class Packer:
    """Compresses for all ``threads`` of one sender."""

    def __init__(self, meter: Meter, threads: int, *, judge_every_s: float = 0.25) -> None:
        self._meter = meter
        self.threads = threads
        self._judge_every_s = judge_every_s
        self._local = threading.local()
        self._judging = threading.Lock()
        self._gear = Gear()
        self._judged = time.monotonic()
        self._link = self._disks = 0.0

    @property
    def level(self) -> int | None:
        """The level now."""
        return LEVELS[self._gear.place]

    def packed(self, content: memoryview) -> bytes | None:
        """Return the compressed form of a chunk, None when it should go as it is."""
        self._judge()
        level = self.level
        if level is None or not self._promises(content):
            return None
        packed = self._compressor(level).compress(content)
        return packed if len(packed) < len(content) - len(content) // 32 else None

    def _promises(self, content: memoryview) -> bool:
        """Say whether either of two samples becomes smaller."""
        if len(content) < 8 * _SAMPLE:
            return True
        probe = self._compressor(-1)
        places = (len(content) // 4, len(content) * 3 // 4)
        return any(len(probe.compress(content[at : at + _SAMPLE])) < _SAMPLE - _SAMPLE // 16 for at in places)

    def _compressor(self, level: int) -> zstandard.ZstdCompressor:
        made: dict[int, zstandard.ZstdCompressor] | None = getattr(self._local, "made", None)
        if made is None:
            made = self._local.made = {}
        if level not in made:
            made[level] = zstandard.ZstdCompressor(level=level)
        return made[level]

    def _judge(self) -> None:
        """Once in a while choose the level anew."""
        now = time.monotonic()
        if now - self._judged < self._judge_every_s or not self._judging.acquire(blocking=False):
            return
        try:
            span = (now - self._judged) * self.threads
            link, disks = self._waited_for(_LINK), self._waited_for(_DISKS)
            shares = (link - self._link) / span, (disks - self._disks) / span
            self._judged, self._link, self._disks = now, link, disks
            self._gear.judge(*shares, now)
        finally:
            self._judging.release()

    def _waited_for(self, causes: tuple[Cause, ...]) -> float:
        return sum(self._meter.waited(cause) for cause in causes)
