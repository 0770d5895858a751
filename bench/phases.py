"""Move guests of 800 MB and 1060.94 MB between two clouds over 1 Gbit/s: Crossport, and the earlier way.

Both ways run in turn in one world: same clouds, same link, same guest, whose disk is not in the page cache
when a run begins. What stays at the target is on its disk (fsync) in both ways; the files in between
of the earlier way are not synced. Prints a table; ``--facts`` writes every run as JSON. Needs root, for
namespaces and a link with a rate.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from crossport.app import log
from crossport.model.run import PHASES, Act
from crossport.model.vm import VM
from laboratory import GUESTS, TENANT, WAN_RATE_BPS, Guest, Laboratory, laboratory
from machine import CACHE, SCRATCH, CpuMeter, evict, facts, passed_bytes
from page import phases_page
from ways import crossport_way, earlier_way

WAYS = {"crossport": crossport_way, "earlier": earlier_way}


def main() -> int:
    """Run, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each way and guest (default 3)")
    parser.add_argument("--quick", action="store_true", help="one run of the 800 MB guest only")
    parser.add_argument(
        "--small", action="store_true", help="one run of a guest of 20 MB: does it work at all"
    )
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write every run and the medians as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the clouds are made")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where guests are kept")
    chosen = parser.parse_args()
    log.configure("warning")
    if os.geteuid() != 0:
        print("bench/phases.py needs root: it makes network namespaces and a link of 1 Gbit/s.")
        return 2
    guests = GUESTS[:1] if chosen.quick else GUESTS
    if chosen.small:
        guests = (Guest("small", 0),)
    runs = 1 if chosen.quick or chosen.small else chosen.runs
    with (
        tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as folder,
        CpuMeter.begun() as cpu,
    ):
        found = asyncio.run(_measured(Path(folder), chosen.cache, guests, runs, cpu))
    if chosen.facts:
        chosen.facts.write_text(json.dumps(found, indent=1) + "\n")
    print(phases_page(found))
    return 0


async def _measured(
    folder: Path, cache: Path, guests: tuple[Guest, ...], runs: int, cpu: CpuMeter
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": facts(folder),
        "link_bps": WAN_RATE_BPS,
        "runs": runs,
        "guests": {},
    }
    async with laboratory(folder) as lab:
        for guest in guests:
            vm = await lab.guest(guest, cache)
            found["machine"]["accelerator"] = (await lab.alpha.about()).accelerator
            rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for number in range(runs):
                # Turn about, so that neither way is always the first.
                for way in list(WAYS) if number % 2 == 0 else reversed(WAYS):
                    rows[way].append(await _one(lab, way, vm, number, cpu))
                    print(f"{guest.name} {way} {number}: {rows[way][-1]['total_s']:.1f} s", file=sys.stderr)
            found["guests"][guest.name] = {
                "used_bytes": rows["crossport"][0]["bytes_read"],
                "runs": rows,
                "median": {way: _medians(each) for way, each in rows.items()},
            }
            await _gone(lab, vm)
    found["machine"]["load_after"] = os.getloadavg()[0]
    return found


async def _one(lab: Laboratory, way: str, vm: VM, number: int, cpu: CpuMeter) -> dict[str, Any]:
    await asyncio.to_thread(evict, lab.folder)
    asked = time.monotonic()
    # A dry run measures the link once in ten minutes: 48 MiB that belong to no migration.
    await lab.site.control.dry_run(TENANT, lab.request(vm))
    dry_run_s = time.monotonic() - asked
    before, spent = passed_bytes(lab.wan), cpu.seconds()
    load = os.getloadavg()[0]
    moved = await WAYS[way](lab, vm, number)
    after, now = passed_bytes(lab.wan), cpu.seconds()
    await lab.again(vm, moved.vm)
    return {
        "total_s": moved.total_s,
        "boot_s": moved.boot_s,
        "phases": moved.phases,
        "link_bytes": sum(after[name] - before[name] for name in after),
        "cpu_s": None if now is None or spent is None else now - spent,
        "load": load,
        "dry_run_s": dry_run_s,
        **moved.extra,
    }


async def _gone(lab: Laboratory, vm: VM) -> None:
    act = Act(run=f"gone-{vm.id}", step="gone", epoch=1)
    await lab.alpha.power_off(act, vm.id)
    await lab.alpha.delete_vm(act, vm.id)


def _medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every number; phases each by itself, so that they do not add up exactly."""
    plain = {
        name: statistics.median(row[name] for row in rows)
        for name, value in rows[0].items()
        if isinstance(value, int | float)
    }
    return plain | {
        "phases": {name: statistics.median(row["phases"].get(name, 0.0) for row in rows) for name in PHASES}
    }


if __name__ == "__main__":
    sys.exit(main())
