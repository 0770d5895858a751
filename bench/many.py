"""Many small disks over one link: all at once, and a queue of them, some at a time."""

import asyncio
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossport.units import MIB
from link import Ends, joined
from machine import CpuMeter
from mix import MIXES, Mix, made, same
from ours import Copier
from tool import OURS, Peaks

__all__ = ["many"]

_AT_ONCE = 64
_QUEUED, _PLACES = 500, 8
_RATE_MBIT = 1000
_LOOK_S = 0.5


def many(folder: Path, *, small: bool) -> list[dict[str, Any]]:
    """Copy 64 disks at once, and 500 of which eight are copied at a time."""
    mix = replace(MIXES["tiny"], size=64 * MIB, used=8 * MIB)
    little = replace(mix, size=8 * MIB, used=MIB)
    rounds = ((mix, _AT_ONCE, _AT_ONCE), (little, _QUEUED, _PLACES))
    if small:
        rounds = ((little, 6, 6), (little, 12, 3))
    with joined() as ends:
        ends.limit(_RATE_MBIT)
        return [_round(folder, ends, *each) for each in rounds]


class _Crowd:
    """Copies of one disk to ``count`` targets, ``places`` at a time; when each began and ended is kept."""

    def __init__(self, folder: Path, ends: Ends, source: Path, places: int) -> None:
        self.took = list[float]()
        self.own_sizes = list[int]()
        self._folder = folder
        self._ends = ends
        self._source = source
        self._places = asyncio.Semaphore(places)

    async def copied(self, count: int) -> None:
        """Copy all, and compare each with its source."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        target, journals = self._folder / f"{number}.target", self._folder / f"{number}.journals"
        async with self._places:
            began = time.monotonic()
            with target.open("wb") as file:
                file.truncate(self._source.stat().st_size)
            await Copier(self._source, target, self._ends, journals).copied()
            self.took.append(time.monotonic() - began)
            self.own_sizes.append(_own_size())
        await asyncio.to_thread(same, self._source, target)
        target.unlink()
        shutil.rmtree(journals)


def _round(folder: Path, ends: Ends, mix: Mix, count: int, places: int) -> dict[str, Any]:
    crowd = _Crowd(folder, ends, made(mix, folder), places)
    before, peaks = ends.passed_bytes(), Peaks(_LOOK_S)
    with CpuMeter.begun() as cpu:
        peaks.start()
        spent, began = cpu.seconds(), time.monotonic()
        asyncio.run(crowd.copied(count))
        seconds, now = time.monotonic() - began, cpu.seconds()
    took = sorted(crowd.took)
    print(f"{count} disks, {places} at a time: {seconds:.1f} s", file=sys.stderr)
    return {
        "tool": OURS,
        "link_mbit": _RATE_MBIT,
        "data": f"{count} disks, {places} at a time",
        "seconds": seconds,
        "copy_seconds": None,
        "wire_bytes": ends.passed_bytes() - before,
        "cpu_seconds": None if now is None or spent is None else now - spent,
        "peak_rss_bytes": peaks.at_once,
        "fastest_s": took[0],
        "median_s": took[len(took) // 2],
        "slowest_s": took[-1],
        # Of the process that starts the workers: when a tenth was copied, and when all was.
        "own_rss_bytes": [crowd.own_sizes[count // 10], crowd.own_sizes[-1]],
        "runs": [],
    }


def _own_size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
