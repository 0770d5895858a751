"""Copy one disk over one link with Crossport and with the standard tools, in turn, and compare.

Two network namespaces are joined by a link of 1 Gbit/s, of 100 Mbit/s, and without a limit. A run ends when
the target is synced. Prints a table of medians; ``--facts`` writes every run as JSON. Needs root.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from link import Ends, joined
from machine import SCRATCH, facts
from mix import MIXES, Mix, made
from tool import TOOLS

LINKS = (1000, 100, 0)
MEGA = 1e6


def main() -> int:
    """Run, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool, link and disk (default 3)")
    parser.add_argument("--quick", action="store_true", help="1 Gbit/s and Debian files only")
    parser.add_argument("--small", action="store_true", help="one run with 20 MB: does it work at all")
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write every run and the medians as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the disks are made")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        print("bench/transfer.py needs root: it makes network namespaces and a link with a rate.")
        return 2
    quick = chosen.quick or chosen.small
    mixes = [MIXES["debian"]] if quick else list(MIXES.values())
    if chosen.small:
        mixes = [replace(MIXES["debian"], size=64 << 20, used=20_000_000)]
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as folder:
        found = _measured(
            Path(folder), mixes, LINKS[:1] if quick else LINKS, 1 if chosen.small else chosen.runs
        )
    if chosen.facts:
        chosen.facts.write_text(json.dumps(found, indent=1) + "\n")
    print(_table(found["rows"]))
    return 0


def _measured(folder: Path, mixes: list[Mix], links: tuple[int, ...], runs: int) -> dict[str, Any]:
    machine, rows = facts(folder), list[dict[str, Any]]()
    with joined() as ends:
        for mix in mixes:
            source = made(mix, folder)
            for rate_mbit in links:
                ends.limit(rate_mbit)
                each = {tool: list[dict[str, Any]]() for tool in TOOLS}
                for number in range(runs):
                    # Turn about, so that no tool is always the first.
                    for tool in list(TOOLS) if number % 2 == 0 else reversed(TOOLS):
                        each[tool].append(_one(tool, source, ends))
                rows += [_row(tool, rate_mbit, mix, those) for tool, those in each.items()]
            source.unlink()
    machine["load_after"] = os.getloadavg()[0]
    return {"machine": machine, "runs": runs, "rows": rows}


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
    subprocess.run(["cmp", str(source), str(target)], check=True)
    target.unlink()
    print(f"{tool}: {measured['seconds']:.2f} s", file=sys.stderr)
    return measured


def _row(tool: str, rate_mbit: int, mix: Mix, runs: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {
        name: None if value is None else statistics.median(run[name] for run in runs)
        for name, value in runs[0].items()
    }
    return {"tool": tool, "link_mbit": rate_mbit, "data": mix.name, **medians, "runs": runs}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| data | link, Mbit/s | tool | s | wire, MB | CPU, s | peak, MB |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = (
            row["data"],
            str(row["link_mbit"] or "no limit"),
            row["tool"],
            f"{row['seconds']:.2f}",
            f"{row['wire_bytes'] / MEGA:.0f}",
            "-" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.2f}",
            f"{row['peak_rss_bytes'] / MEGA:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
