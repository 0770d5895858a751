"""Tools that copy the same disk over the same link in turn, and the medians of what that took."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from link import Ends
from mix import Mix, allocated, made, same
from tool import TOOLS

__all__ = ["Turns"]

_SLOW_PART = 8
_FAST_MBIT = 1000
_ENOUGH_S = 20.0
_GRACE_S = 10.0


@dataclass(frozen=True)
class Turns:
    """Which tools take turns, and how often; disks are made in ``folder``."""

    folder: Path
    runs: int
    tools: tuple[str, ...] = TOOLS

    def rows(self, mix: Mix, ends: Ends, rate_mbit: int) -> list[dict[str, Any]]:
        """Copy a disk with each tool over a link of this rate; a slow link gets an eighth of it.

        A tool that takes long is not run again.
        """
        part = _SLOW_PART if 0 < rate_mbit < _FAST_MBIT else 1
        source = made(replace(mix, size=mix.size // part, used=mix.used // part), self.folder)
        ends.limit(rate_mbit)
        disk, each = allocated(source), {tool: list[dict[str, Any]]() for tool in self.tools}
        for number in range(self.runs):
            # Turn about, so that no tool is always the first.
            for tool in self.tools if number % 2 == 0 else reversed(self.tools):
                if not each[tool] or each[tool][0]["seconds"] < _ENOUGH_S:
                    each[tool].append(_one(tool, source, ends))
        return [
            {"tool": tool, "link_mbit": rate_mbit, "data": mix.name, **_medians(those), "disk": disk}
            for tool, those in each.items()
        ]


def _one(tool: str, source: Path, ends: Ends) -> dict[str, Any]:
    target = source.with_suffix(".target")
    with target.open("wb") as file:
        file.truncate(source.stat().st_size)
    before = ends.passed_bytes()
    command = [sys.executable, str(Path(__file__).with_name("tool.py")), tool, str(source), str(target)]
    measured: dict[str, Any] = json.loads(_said(tool, [*command, ends.source, ends.target]))
    measured["wire_bytes"] = ends.passed_bytes() - before
    same(source, target)
    target.unlink()
    print(f"{tool}: {measured['seconds']:.2f} s", file=sys.stderr)
    return measured


def _said(tool: str, command: list[str]) -> str:
    """Run a tool; whatever ends this bench, nothing that the tool started is left."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, complaint = process.communicate()
        finally:
            _end(process)
    if process.returncode:
        raise SystemExit(f"{tool}: {complaint}")
    return said


def _end(process: subprocess.Popen[str]) -> None:
    """Let a tool and what it started clean up, and end what is left of them then."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {
        name: None if value is None else statistics.median(run[name] for run in runs)
        for name, value in runs[0].items()
    }
    return {**medians, "runs": runs}
