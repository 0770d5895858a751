"""Copying again with Crossport: after a little has changed, and after a worker was killed in the middle."""

import asyncio
import itertools
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.hypervisor import confine
from crossport.transfer.host import Way
from crossport.units import KIB
from link import Ends
from mix import Mix, data_extents, made, same
from ours import Copier

__all__ = ["delta", "resume"]

_BLOCK = 4 * KIB
_CHANGED = 0.01
_PERCENT = (10, 50, 90)
_TRIES = 5
_SECTOR = 512
_LOOK_S = 0.01
_ENDS: tuple[Way, ...] = ("send", "receive")


def delta(folder: Path, mix: Mix, ends: Ends) -> list[dict[str, Any]]:
    """Copy a disk, change 1 % of its data at random places of 4 KiB or in one run, and copy again."""
    rows = list[dict[str, Any]]()
    for pattern in ("random 4 KiB", "one run"):
        with _Trial(folder, mix, ends) as trial:
            whole = trial.timed()
            changed = _change(trial.source, scattered=pattern != "one run")
            row: dict[str, Any] = {
                "pattern": pattern,
                "changed_bytes": changed,
                **trial.timed(),
                "whole": whole,
            }
            trial.source.unlink()  # the next one begins with what was not changed
        print(f"{pattern}: {row['seconds']:.2f} s", file=sys.stderr)
        rows.append(row)
    return rows


def resume(folder: Path, mix: Mix, ends: Ends) -> list[dict[str, Any]]:
    """Kill either worker in the middle and copy again: what had been written, and was sent again."""
    rows = list[dict[str, Any]]()
    with _Trial(folder, mix, ends) as trial:
        data = trial.timed()["written_bytes"]  # zeros that the source holds are not written
    for end, percent in itertools.product(_ENDS, _PERCENT):
        for _ in range(_TRIES):
            with _Trial(folder, mix, ends) as trial:
                row = trial.killed(end, data, percent / 100)
            if row is not None:
                break
        else:
            raise SystemExit(
                f"The copy always ended before it was killed at {percent} %: take a larger disk."
            )
        print(f"{end} killed at {percent} %: {row['again_bytes']} bytes again", file=sys.stderr)
        rows.append({"killed": end, "at_percent": percent, **row})
    return rows


class _Trial:
    """One disk and one target with a journal, copied as often as it is told; all is gone afterwards."""

    def __init__(self, folder: Path, mix: Mix, ends: Ends) -> None:
        self.source = made(mix, folder)
        self._target = self.source.with_suffix(".target")
        self._journals = folder / "journals"
        self._ends = ends
        self._copier = Copier(self.source, self._target, ends, self._journals)

    def __enter__(self) -> "_Trial":
        with self._target.open("wb") as file:
            file.truncate(self.source.stat().st_size)
        return self

    def __exit__(self, *_: object) -> None:
        self._target.unlink()
        shutil.rmtree(self._journals)

    def timed(self) -> dict[str, Any]:
        """Copy, and compare."""
        before, began = self._ends.passed_bytes(), time.monotonic()
        moved = asyncio.run(self._copier.copied())
        took = {
            "seconds": time.monotonic() - began,
            "copy_seconds": self._copier.copy_seconds,
            "first_byte_s": self._copier.first_byte_s,
            "wire_bytes": self._ends.passed_bytes() - before,
            "written_bytes": moved.counters.written,
        }
        same(self.source, self._target)
        return took

    def killed(self, end: Way, data: int, share: float) -> dict[str, Any] | None:
        """Copy, kill one end when ``share`` of ``data`` bytes is written, and copy what is left.

        Return None when the copy ended before.
        """
        if not self._cut(end, share * data):
            return None
        written = _data_bytes(self._target)
        rest = self.timed()
        again = max(0, written + rest["written_bytes"] - data)
        return {"data_bytes": data, "before_bytes": written, "again_bytes": again, **rest}

    def _cut(self, end: Way, size: float) -> bool:
        """Return whether the copy ended by the kill."""
        try:
            asyncio.run(self._copied_until(end, size))
        except errors.Unavailable:
            return True
        return False

    async def _copied_until(self, end: Way, size: float) -> None:
        copying = asyncio.ensure_future(self._copier.copied())
        while not copying.done() and self._target.stat().st_blocks * _SECTOR < size:
            await asyncio.wait({copying}, timeout=_LOOK_S)
        if not copying.done():
            confine.kill(self._copier.pids[end])
        await copying


def _data_bytes(path: Path) -> int:
    return sum(stop - start for start, stop in data_extents(path))


def _change(path: Path, *, scattered: bool) -> int:
    """Overwrite 1 % of the data; return how many bytes that were."""
    choice = random.Random(1)  # noqa: S311 - the same places on every run
    extents = list(data_extents(path))
    places = [at for start, stop in extents for at in range(start, stop - _BLOCK + 1, _BLOCK)]
    count = max(1, int(len(places) * _CHANGED))
    first = choice.randrange(len(places) - count)
    chosen = choice.sample(places, count) if scattered else places[first : first + count]
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for place in chosen:
            os.pwrite(descriptor, choice.randbytes(_BLOCK), place)
    finally:
        os.close(descriptor)
    return count * _BLOCK
