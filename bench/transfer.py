"""Copy one disk over one link with Crossport and with the standard tools, in turn, and compare.

Two network namespaces are joined by a link of 1 Gbit/s, of 100 Mbit/s (with an eighth of the disk), or
without a limit. A run ends when the target is synced, and counts only if all bytes are there. A tool that
takes longer than 20 s is not run again. Prints a table of medians; ``--facts`` writes every run as JSON,
beside what another part wrote there: ``--delta`` and ``--resume`` are parts of their own. Needs root.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from again import delta, resume
from copy_page import again_table, tools_table
from link import Ends, joined
from machine import SCRATCH, facts
from mix import MIXES, Mix, allocated, made, same
from tool import TOOLS

LINKS = (1000, 100, 0)
SLOW_PART = 8
SMALL_MBIT = 20  # so that there is time to kill a worker in the middle of so little
ENOUGH_S = 20.0


def main() -> int:
    """Run, print, and write what was asked for."""
    chosen = _parser().parse_args()
    if os.geteuid() != 0:
        print("bench/transfer.py needs root: it makes network namespaces and a link with a rate.")
        return 2
    mixes = [MIXES[name] for name in chosen.mix]
    if chosen.small:
        mixes = [replace(mix, size=64 << 20, used=20_000_000) for mix in mixes]
    parts = [name for name in ("delta", "resume") if getattr(chosen, name)] or ["tools"]
    for part in parts:
        with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as folder:
            found = _part(part, Path(folder), mixes, chosen)
        print(tools_table(found["rows"]) if part == "tools" else again_table(part, found["rows"]))
        if chosen.facts:
            _kept(chosen.facts, part, found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool, link and disk (default 3)")
    parser.add_argument("--quick", action="store_true", help="1 Gbit/s only")
    parser.add_argument("--small", action="store_true", help="one run with 20 MB: does it work at all")
    parser.add_argument("--mix", nargs="+", choices=list(MIXES), default=["debian"], help="which disks")
    parser.add_argument("--delta", action="store_true", help="copy again after 1 %% of the data changed")
    parser.add_argument("--resume", action="store_true", help="kill either worker at 10, 50 and 90 %%")
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write every run and the medians as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the disks are made")
    return parser


def _part(part: str, folder: Path, mixes: list[Mix], chosen: argparse.Namespace) -> dict[str, Any]:
    machine, rows = facts(folder), list[dict[str, Any]]()
    quick, runs = chosen.quick or chosen.small, 1 if chosen.small else chosen.runs
    with joined() as ends:
        for mix in mixes:
            if part == "tools":
                rows += _compared(folder, mix, ends, LINKS[:1] if quick else LINKS, runs)
                continue
            rate_mbit = SMALL_MBIT if chosen.small else LINKS[0]
            ends.limit(rate_mbit)
            again: Callable[..., list[dict[str, Any]]] = {"delta": delta, "resume": resume}[part]
            rows += [{"link_mbit": rate_mbit, "data": mix.name, **row} for row in again(folder, mix, ends)]
    machine["load_after"] = os.getloadavg()[0]
    return {"machine": machine, "rows": rows}


def _kept(file: Path, part: str, found: dict[str, Any]) -> None:
    there: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    there.update(found if part == "tools" else {part: found})
    file.write_text(json.dumps(there, indent=1) + "\n")


def _compared(folder: Path, mix: Mix, ends: Ends, links: tuple[int, ...], runs: int) -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for rate_mbit in links:
        part = SLOW_PART if 0 < rate_mbit < LINKS[0] else 1
        source = made(replace(mix, size=mix.size // part, used=mix.used // part), folder)
        ends.limit(rate_mbit)
        disk = allocated(source)
        each = {tool: list[dict[str, Any]]() for tool in TOOLS}
        for number in range(runs):
            # Turn about, so that no tool is always the first.
            for tool in TOOLS if number % 2 == 0 else reversed(TOOLS):
                if not each[tool] or each[tool][0]["seconds"] < ENOUGH_S:
                    each[tool].append(_one(tool, source, ends))
        rows += [_row(tool, rate_mbit, mix, those) | {"disk": disk} for tool, those in each.items()]
    return rows


def _one(tool: str, source: Path, ends: Ends) -> dict[str, Any]:
    target = source.with_suffix(".target")
    with target.open("wb") as file:
        file.truncate(source.stat().st_size)
    before = ends.passed_bytes()
    command = [sys.executable, str(Path(__file__).with_name("tool.py")), tool, str(source), str(target)]
    done = subprocess.run([*command, ends.source, ends.target], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tool}: {done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout)
    measured["wire_bytes"] = ends.passed_bytes() - before
    same(source, target)
    target.unlink()
    print(f"{tool}: {measured['seconds']:.2f} s", file=sys.stderr)
    return measured


def _row(tool: str, rate_mbit: int, mix: Mix, runs: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {
        name: None if value is None else statistics.median(run[name] for run in runs)
        for name, value in runs[0].items()
    }
    return {"tool": tool, "link_mbit": rate_mbit, "data": mix.name, **medians, "runs": runs}


if __name__ == "__main__":
    sys.exit(main())
