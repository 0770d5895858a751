"""A link that is long and loses packets, between two namespaces: what netem does, where a kernel has none.

Run as ``distance.py SOURCE_NS TARGET_NS ONE_WAY_MS LOSS``: makes a device ``wire`` in both, says ``ready``,
and carries what one end sends to the other until its standard input ends. Every packet is kept for the same
time; of those of the link's own size (MTU) each is lost with the same chance, in both directions. What is
under way is bounded: beyond, packets are lost as in any network.
"""

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

from segments import Losses, cut, segment_count

__all__ = ["carry"]

_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0  # linux/if_tun.h
_TUN, _NO_PI, _VNET_HEADER = 0x0001, 0x1000, 0x4000
_CHECKSUM, _TSO4 = 0x01, 0x02
_LARGEST = 10 + (64 << 10)
_UNDER_WAY = 64 << 20
_AT_ONCE = 64
_QUEUE = "4000"  # packets that the device keeps while this process has no processor
_FIRST = -15  # as good as a wire that never waits for a processor


class _Way:
    """One direction: what is read comes out after ``delay_s``, but for what is lost."""

    def __init__(self, reads: int, writes: int, delay_s: float, losses: Losses) -> None:
        self.reads = reads
        self._writes = writes
        self._delay_s = delay_s
        self._losses = losses
        self._under_way = deque[tuple[float, bytes]]()
        self._size = 0

    def take(self) -> None:
        """Take what has come."""
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self.reads, _LARGEST)
            except BlockingIOError:
                return
            due = time.monotonic() + self._delay_s
            if self._size < _UNDER_WAY:
                for part in cut(packet, self._losses.among(segment_count(packet))):
                    self._under_way.append((due, part))
                    self._size += len(part)

    def give(self) -> float:
        """Let out what is due; return how long until the next is."""
        while self._under_way:
            due, packet = self._under_way[0]
            left_s = due - time.monotonic()
            if left_s > 0:
                return left_s
            self._under_way.popleft()
            self._size -= len(packet)
            try:
                os.write(self._writes, packet)
            except OSError as error:
                if error.errno != errno.EIO:  # that end is not up yet: nobody is there
                    raise
        return 1.0


def carry(ends: tuple[str, str], delay_s: float, loss: float) -> None:
    """Carry packets between the devices of both namespaces until standard input ends."""
    here, there = (_device(f"xp{os.getpid()}{side}", end) for side, end in zip("st", ends, strict=True))
    ways = (_Way(here, there, delay_s, Losses(loss, 1)), _Way(there, here, delay_s, Losses(loss, 2)))
    os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
    print("ready", flush=True)
    stop = sys.stdin.fileno()
    while True:
        wait_s = min(way.give() for way in ways)
        there_is, _, _ = select.select([*(way.reads for way in ways), stop], [], [], wait_s)
        if stop in there_is:
            return
        for way in ways:
            if way.reads in there_is:
                way.take()


def _device(name: str, namespace: str) -> int:
    """Make a device here, where it is known by its descriptor, and move it to its namespace as ``wire``."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _NO_PI | _VNET_HEADER))
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _CHECKSUM | _TSO4)
    for line in (f"set {name} txqueuelen {_QUEUE}", f"set {name} name wire netns {namespace}"):
        subprocess.run(["ip", "link", *line.split()], check=True)
    return descriptor


if __name__ == "__main__":
    carry((sys.argv[1], sys.argv[2]), float(sys.argv[3]) / 1000, float(sys.argv[4]))
