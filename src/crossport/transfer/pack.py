"""Compressing chunks as hard as the link is slow.

Where the threads wait for the link or for the rate limit there is time to compress harder; where they wait
for nothing, compression is what holds the copy up, and it is eased. While a disk holds it up, at either end,
neither would help. A level that was eased and brought waits for the link at once was eased too far: it is not
tried again for a while, and for longer each time. But where the harder level, held up by the processor, got
through less of the disk than this one with its waits does, this one is kept, for a while too: the link is
full then. What does not compress goes as it is, after a look at some small samples.

Where the link is slow, chunks of one connection that follow each other share a zstd frame, a strand: what
came before helps to pack what comes next.
"""

import math
import threading
import time

import zstandard

from crossport.model.record import record
from crossport.transfer import frame
from crossport.transfer.meter import Cause, Meter

__all__ = ["LEVELS", "Gear", "Packed", "Packer"]

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
# By so much more of the disk must go through with an easier level that is waiting for the link.
_BETTER = 1.03
_BELIEVED_S = 16.0
# Of Debian files, what two samples of 4 KiB miss is 2 % of the packed size; eight of 2 KiB miss 0.2 %.
_SAMPLES, _SAMPLE = 8, 2 << 10
# Below this level a strand packs no better. One at the hardest takes 12 MB of memory.
_STRANDS_FROM, _STRAND, _STRAND_THREADS = 5, 64, 4


class Gear:
    """Which of LEVELS is used, judged by shares of the threads' time. Pure: the caller tells the time."""

    def __init__(self) -> None:
        self.place = LEVELS.index(1)
        self._unhindered = 0
        self._eased = -math.inf
        self._hold_s = _FIRST_HOLD_S
        self._held_until = -math.inf
        self._at_work = _Remembered()
        self._looked_at = -1
        self._pace = 0.0

    def judge(self, link: float, disks: float, now: float, pace: float = 0.0) -> None:
        """Choose anew; ``link`` and ``disks`` are the shares of the last while spent waiting for these.

        ``pace`` is how many bytes of the disk went through in a second meanwhile.
        """
        self._pace = (self._pace + pace) / 2 if self._looked_at == self.place else pace
        self._looked_at = self.place
        at_work = link < _EASE_BELOW and link + disks < _BUSY_BELOW
        self._unhindered = self._unhindered + 1 if at_work else 0
        if at_work:
            self._at_work.note(self.place, self._pace, now)
        if link > _HARDEN_ABOVE:
            steps = 1 + sum(link > above for above in _FAR_ABOVE)
            if steps > 1 or not self._at_work.slower(self.place + 1, self._pace, now):
                self._harden(steps, now)
        elif self._unhindered >= _EASE_AFTER and self.place and now >= self._held_until:
            # Once it is clear that the link does not hold the copy up, each further look is enough.
            self.place -= 1
            self._eased, self._unhindered = now, _EASE_AFTER - 1

    def _harden(self, steps: int, now: float) -> None:
        if now - self._eased < _FIRST_HOLD_S:
            self._held_until = now + self._hold_s
            self._hold_s = min(self._hold_s * 2, _LONGEST_HOLD_S)
            self._eased = -math.inf
        self.place = min(self.place + steps, len(LEVELS) - 1)


class _Remembered:
    """How fast a copy was at each place while only the processor held it up."""

    def __init__(self) -> None:
        self._paces = dict[int, tuple[float, float]]()

    def note(self, place: int, pace: float, now: float) -> None:
        """Remember the pace at a place."""
        self._paces[place] = pace, now

    def slower(self, place: int, pace: float, now: float) -> bool:
        """Say whether it was slower there than ``pace``, as far as that is believed still."""
        then, moment = self._paces.get(place, (math.inf, -math.inf))
        return now - moment < _BELIEVED_S and then * _BETTER < pace


@record(kw_only=False)
class Packed:
    """The compressed form of a chunk; its place in a strand is ``frame.FIRST`` or ``frame.NEXT``."""

    payload: bytes
    strand: int = frame.NO_STRAND


class _Own(threading.local):
    """What one thread has for itself; ``packs`` says that its last chunk became smaller."""

    def __init__(self) -> None:
        self.made = dict[tuple[int, int], zstandard.ZstdCompressor]()
        self.strand: _Strand | None = None
        self.packs = False


class _Strand:
    """Chunks that are packed in one frame, by one thread."""

    def __init__(self, compressor: zstandard.ZstdCompressor, level: int) -> None:
        self.level = level
        self.count = 0
        self._frame = compressor.compressobj()

    def added(self, content: memoryview) -> bytes:
        """Return what the other end needs to unpack this chunk, after those before."""
        self.count += 1
        return self._frame.compress(content) + self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


class Packer:
    """Compresses for all ``threads`` of one sender."""

    def __init__(
        self, meter: Meter, threads: int, *, judge_every_s: float = 0.25, gear: Gear | None = None
    ) -> None:
        self._meter = meter
        self.threads = threads
        self._judge_every_s = judge_every_s
        self._own = _Own()
        self._judging = threading.Lock()
        self._gear = gear or Gear()
        self._judged = time.monotonic()
        self._link = self._disks = 0.0
        self._taken = self._taken_then = 0

    @property
    def level(self) -> int | None:
        """The level now."""
        return LEVELS[self._gear.place]

    def packed(self, content: memoryview, *, strands: bool = False, hard: bool = False) -> Packed | None:
        """Return the compressed form of a chunk, None when it should go as it is.

        ``strands`` says that all that this thread has packed goes to the same end, in this order. ``hard``
        says that there is time: so little is packed.
        """
        self._judge()
        self._taken += len(content)  # of several threads at once one may get lost: it is for a pace only
        level = max(self.level or 0, _STRANDS_FROM) if hard else self.level
        # What follows a chunk that became smaller mostly does, too.
        if level is None or not (self._own.packs or self._promises(content)):
            return None
        if strands and level >= _STRANDS_FROM and self.threads <= _STRAND_THREADS:
            packed = self._in_strand(level, content)
        else:
            packed = self._alone(level, content)
        self._own.packs = packed is not None
        return packed

    def snap(self) -> None:
        """Let what this thread packs next not rely on what it packed before."""
        self._own.strand = None

    def _alone(self, level: int, content: memoryview) -> Packed | None:
        packed = self._compressor(level).compress(content)
        return Packed(packed) if len(packed) < len(content) - len(content) // 32 else None

    def _in_strand(self, level: int, content: memoryview) -> Packed | None:
        strand = self._own.strand
        if strand is None or strand.level != level or strand.count == _STRAND:
            strand = self._own.strand = _Strand(self._compressor(level, frame.STRAND_WINDOW), level)
        payload = strand.added(content)
        if len(payload) >= len(content):
            self.snap()  # the other end does not get it
            return None
        return Packed(payload, frame.FIRST if strand.count == 1 else frame.NEXT)

    def _promises(self, content: memoryview) -> bool:
        """Say whether one of some samples becomes smaller: mostly the first does."""
        if len(content) < 2 * _SAMPLES * _SAMPLE:
            return True
        probe, step = self._compressor(-1), len(content) // _SAMPLES
        places = range(step // 2, len(content) - _SAMPLE, step)
        return any(len(probe.compress(content[at : at + _SAMPLE])) < _SAMPLE - _SAMPLE // 16 for at in places)

    def _compressor(self, level: int, window: int = 0) -> zstandard.ZstdCompressor:
        """Return this thread's compressor for a level; ``window`` is a power of two, 0 fits one chunk."""
        made = self._own.made
        if (level, window) not in made:
            made[level, window] = _for_strands(level, window) if window else zstandard.ZstdCompressor(level)
        return made[level, window]

    def _judge(self) -> None:
        """Once in a while choose the level anew."""
        now = time.monotonic()
        if now - self._judged < self._judge_every_s or not self._judging.acquire(blocking=False):
            return
        try:
            span = (now - self._judged) * self.threads
            link, disks = self._waited_for(_LINK), self._waited_for(_DISKS)
            shares = (link - self._link) / span, (disks - self._disks) / span
            pace = (self._taken - self._taken_then) * self.threads / span
            self._judged, self._link, self._disks = now, link, disks
            self._taken_then = self._taken
            self._gear.judge(*shares, now, pace)
        finally:
            self._judging.release()

    def _waited_for(self, causes: tuple[Cause, ...]) -> float:
        return sum(self._meter.waited(cause) for cause in causes)


def _for_strands(level: int, window: int) -> zstandard.ZstdCompressor:
    bits = window.bit_length() - 1
    form = zstandard.ZstdCompressionParameters(compression_level=level, window_log=bits)
    return zstandard.ZstdCompressor(compression_params=form)
