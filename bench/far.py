"""Copying over links that are long and lose packets, and over one that changes its rate meanwhile."""

import asyncio
import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from crossport.units import MIB
from gauge import Trace, traced
from link import Distance, Ends, joined
from mix import MIXES, Mix, made
from ours import Copier
from plain import streamed
from tool import OURS
from turns import Turns

__all__ = ["change", "links"]

_ROUND_TRIPS_MS = (10, 50, 150)
_LOSSES = (0.0, 0.001, 0.01)
_MIDDLE = Distance(50, 0.001)
_PEERS = ("nbdcopy, TLS", "rsync -z")
_SLOW, _MIDDLING, _FAST = 100, 500, 1000
_STREAMS = (1, 16)
_STREAMED_S = 3.0
_SIZE = 1024 * MIB  # of which a slow link gets an eighth

_STEPS = (100, 300, 50, 200)
_STEP_S = 4.0
_WINDOW_S = 0.5
_LOOK_S = 0.1
_REACHED = 0.9
_SETTLED_S = 2.0

Moment: TypeAlias = tuple[float, int]


def links(turns: Turns, *, small: bool) -> list[dict[str, Any]]:
    """Copy what cannot be compressed over links of three lengths and three losses."""
    grid = [Distance(ms, loss) for ms in _ROUND_TRIPS_MS for loss in _LOSSES]
    rows = list[dict[str, Any]]()
    for distance in [_MIDDLE] if small else grid:
        peers = _PEERS if distance == _MIDDLE and not small else ()
        rows += _over(distance, _SLOW, replace(turns, tools=(OURS, *peers), runs=1), small=small)
    return rows if small else rows + _over(_MIDDLE, _FAST, replace(turns, tools=(OURS,), runs=1), small=False)


def _over(distance: Distance, rate_mbit: int, turns: Turns, *, small: bool) -> list[dict[str, Any]]:
    mix = replace(MIXES["incompressible"], used=_SIZE // 8 if small else _SIZE)
    with joined(distance) as ends:
        rows = turns.rows(mix, ends, rate_mbit)
        rows += [_plain(ends, count, rate_mbit) for count in (_STREAMS[:1] if small else _STREAMS)]
    far = {"round_trip_ms": distance.round_trip_ms, "loss": distance.loss}
    return [{**row, **far} for row in rows]


def _plain(ends: Ends, count: int, rate_mbit: int) -> dict[str, Any]:
    """Return what so many streams carry without any copy, as a row."""
    carried = streamed(ends, count, _STREAMED_S)
    return {
        "tool": f"TCP, {count} streams" if count > 1 else "TCP, 1 stream",
        "link_mbit": rate_mbit,
        "data": "nothing",
        "seconds": _STREAMED_S,
        "copy_seconds": None,
        "wire_bytes": round(carried * _STREAMED_S),
        "cpu_seconds": None,
        "peak_rss_bytes": None,
        "runs": [],
    }


def change(folder: Path, *, small: bool) -> list[dict[str, Any]]:
    """Copy while the rate of the link changes; tell how long until the copy goes as fast as the link does."""
    if small:
        return _changed(folder, replace(MIXES["incompressible"], used=24 * MIB), (20, 50))
    return [
        *_changed(folder, replace(MIXES["incompressible"], used=384 * MIB), _STEPS),
        *_changed(folder, MIXES["debian"], (_SLOW, _MIDDLING)),
    ]


def _changed(folder: Path, mix: Mix, steps: tuple[int, ...]) -> list[dict[str, Any]]:
    source = made(mix, folder)
    target = source.with_suffix(".target")
    with target.open("wb") as file:
        file.truncate(source.stat().st_size)
    with joined() as ends, traced(ends) as trace:
        copier = Copier(source, target, ends, folder / "journals")
        moments = asyncio.run(_stepped(copier, ends, trace, steps))
    target.unlink()
    rows = list[dict[str, Any]]()
    for (_, before), (moment, rate), end in zip(moments, moments[1:], _ends(moments, trace), strict=False):
        reached_s, mean = _reached(trace, moment, end, rate)
        told = "not" if reached_s is None else f"after {reached_s:.1f} s"
        print(f"{mix.name}, {before} to {rate} Mbit/s: {told} reached", file=sys.stderr)
        row = {"before_mbit": before, "reached_s": reached_s, "then_mbit": mean, "trace": trace.steps(0.1)}
        rows.append({"tool": OURS, "link_mbit": rate, "data": mix.name, **row})
    return rows


async def _stepped(copier: Copier, ends: Ends, trace: Trace, steps: tuple[int, ...]) -> list[Moment]:
    """Change the rate step by step under a copy; return when, and to what. The copy need not end."""
    ends.limit(steps[0])
    copying, moments = asyncio.ensure_future(copier.copied()), [(0.0, steps[0])]
    await asyncio.sleep(_STEP_S)
    for rate in steps[1:]:
        await asyncio.to_thread(ends.limit, rate)
        moments.append((trace.now(), rate))
        await asyncio.wait({copying}, timeout=_STEP_S)
    copying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await copying
    return moments


def _ends(moments: list[Moment], trace: Trace) -> list[float]:
    """Return when each step but the first was over."""
    return [*(moment for moment, _ in moments[2:]), trace.points[-1][0]]


def _reached(trace: Trace, moment: float, end: float, rate_mbit: int) -> tuple[float | None, float]:
    """Return after how long the copy went at nine tenths of the rate, and at which mean from two seconds on.

    The last half second may be the end of the copy.
    """
    last = end - _WINDOW_S
    mean = trace.rate_mbit(min(moment + _SETTLED_S, last - _WINDOW_S), last)
    after_s = 0.0
    while moment + after_s + _WINDOW_S <= last:
        at = moment + after_s
        if trace.rate_mbit(at, at + _WINDOW_S) >= _REACHED * rate_mbit:
            return after_s, mean
        after_s += _LOOK_S
    return None, mean
