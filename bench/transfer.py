"""Copy one disk over one link with Crossport and with the standard tools, in turn, and compare.

Two network namespaces are joined by a link of 1 Gbit/s, of 100 Mbit/s (with an eighth of the disk), or
without a limit. A run ends when the target is synced, and counts only if all bytes are there. A tool that
takes longer than 20 s is not run again. Prints tables of medians; ``--facts`` writes every run as JSON,
beside what was written there of other disks and other parts: ``--links``, ``--change``, ``--delta``,
``--resume`` and ``--many`` are parts of their own. Needs root.
"""

import argparse
import compileall
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import crossport
from again import delta, resume
from copy_page import part_table
from far import change, links
from link import joined
from machine import SCRATCH, facts
from many import many
from mix import MIXES, Mix
from second import second
from tool import TOOLS
from turns import Turns

LINKS = (1000, 100, 0)
SMALL_MBIT = 20  # so that there is time to kill a worker in the middle of so little


@dataclass(frozen=True)
class Bench:
    """What was asked for."""

    folder: Path
    mixes: tuple[Mix, ...]
    rates: tuple[int, ...]
    turns: Turns
    small: bool

    def tools(self) -> list[dict[str, Any]]:
        """Compare the tools over each link."""
        with joined() as ends:
            return [
                row for mix in self.mixes for rate in self.rates for row in self.turns.rows(mix, ends, rate)
            ]

    def delta(self) -> list[dict[str, Any]]:
        """Copy again after a change."""
        return self._again(delta)

    def resume(self) -> list[dict[str, Any]]:
        """Copy again after a kill."""
        return self._again(resume)

    def links(self) -> list[dict[str, Any]]:
        """Copy over long links that lose packets."""
        return links(self.turns, small=self.small)

    def change(self) -> list[dict[str, Any]]:
        """Copy over a link that changes its rate."""
        return change(self.folder, small=self.small)

    def second(self) -> list[dict[str, Any]]:
        """Copy VMs of the same base."""
        with joined() as ends:
            ends.limit(LINKS[0])
            return [
                {"link_mbit": LINKS[0], "data": mix.name, **row}
                for mix in self.mixes
                for row in second(self.folder, mix, ends)
            ]

    def many(self) -> list[dict[str, Any]]:
        """Copy many disks."""
        return many(self.folder, small=self.small)

    def _again(self, what: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
        rate = SMALL_MBIT if self.small else LINKS[0]
        with joined() as ends:
            ends.limit(rate)
            return [
                {"link_mbit": rate, "data": mix.name, **row}
                for mix in self.mixes
                for row in what(self.folder, mix, ends)
            ]


PARTS: dict[str, Callable[[Bench], list[dict[str, Any]]]] = {
    "tools": Bench.tools,
    "links": Bench.links,
    "change": Bench.change,
    "delta": Bench.delta,
    "resume": Bench.resume,
    "second": Bench.second,
    "many": Bench.many,
}


def main() -> int:
    """Run, print, and write what was asked for."""
    chosen = _parser().parse_args()
    if os.geteuid() != 0:
        print("bench/transfer.py needs root: it makes network namespaces and a link with a rate.")
        return 2
    signal.signal(signal.SIGTERM, _stopped)
    # As pip does for whoever installs it: a confined worker can only read bytecode.
    compileall.compile_dir(Path(crossport.__file__).parent, quiet=1)
    for part in [name for name in PARTS if getattr(chosen, name, False)] or ["tools"]:
        with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as folder:
            machine = facts(Path(folder))
            rows = PARTS[part](_bench(chosen, Path(folder)))
        found = {"machine": {**machine, "load_after": os.getloadavg()[0]}, "rows": rows}
        print(part_table(part, rows))
        if chosen.facts:
            _kept(chosen.facts, part, found)
    return 0


def _stopped(number: int, _: object) -> None:
    """End as at Ctrl-C: what was made is removed on the way out."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool, link and disk (default 3)")
    parser.add_argument("--quick", action="store_true", help="1 Gbit/s only")
    parser.add_argument("--small", action="store_true", help="one run with 20 MB: does it work at all")
    parser.add_argument("--mix", nargs="+", choices=list(MIXES), default=["debian"], help="which disks")
    parser.add_argument("--tool", nargs="+", choices=TOOLS, default=TOOLS, help="which tools")
    parser.add_argument("--links", action="store_true", help="links of 10 to 150 ms that lose up to 1 %%")
    parser.add_argument("--change", action="store_true", help="a link that changes its rate")
    parser.add_argument("--delta", action="store_true", help="copy again after 1 %% of the data changed")
    parser.add_argument("--resume", action="store_true", help="kill either worker at 10, 50 and 90 %%")
    parser.add_argument("--second", action="store_true", help="VMs of the same base, and four at once")
    parser.add_argument("--many", action="store_true", help="64 disks at once, and 500 in turn")
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write every run and the medians as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the disks are made")
    return parser


def _bench(chosen: argparse.Namespace, folder: Path) -> Bench:
    mixes = [MIXES[name] for name in chosen.mix]
    if chosen.small:
        mixes = [replace(mix, size=64 << 20, used=20_000_000) for mix in mixes]
    rates = LINKS[:1] if chosen.quick or chosen.small else LINKS
    turns = Turns(folder, 1 if chosen.small else chosen.runs, tuple(chosen.tool))
    return Bench(folder, tuple(mixes), rates, turns, chosen.small)


def _kept(file: Path, part: str, found: dict[str, Any]) -> None:
    """Write what was found; rows of the tools stand beside those of other disks and links."""
    there: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if part == "tools":
        new = {(row["data"], row["link_mbit"]) for row in found["rows"]}
        kept = [row for row in there.get("rows", ()) if (row["data"], row["link_mbit"]) not in new]
        there.update(found, rows=kept + found["rows"])
    else:
        there[part] = found
    file.write_text(json.dumps(there, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
