"""What Crossport itself costs: time besides the data, memory, processor, start-up, latency.

* own time: wall time of a migration of the larger guest less the union of all intervals in calls to the
  clouds, in copying and verifying, and in waiting for the guest (root only: real clouds)
* an idle server's memory and CPU time
* two hundred migrations queued at once on simulated clouds
* start-up of the command line, alone and against a running server
* latency of the engine: submission, start of a run, a step

Prints a table; ``--facts`` writes the figures as JSON.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.transfer.confined import LocalHost
from crossport.transfer.rate_probe import WorkerRateProbe
from crossport.transfer.simple import SimpleMover
from laboratory import GUESTS, Guest, laboratory
from machine import CACHE, SCRATCH, facts, pss
from page import overhead_page
from timed import Intervals, TimedMover, timed_driver
from ways import crossport_way

IDLE_S = 20.0
# Only a bound: what it takes is measured, and a machine under load takes long.
SERVER_START_S = 180.0
COMMAND = (sys.executable, "-m", "crossport.app")


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="migrations for the own time (default 3)")
    parser.add_argument("--queued", type=int, default=200, help="migrations at once (default 200)")
    parser.add_argument(
        "--quick", action="store_true", help="a small guest once, ten at once, short idleness"
    )
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the clouds are")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where guests are kept")
    chosen = parser.parse_args()
    log.configure("warning")
    guest = Guest("small", 0) if chosen.quick else GUESTS[-1]
    runs, count = (1, 10) if chosen.quick else (chosen.runs, chosen.queued)
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"machine": facts(folder)}
        found["server"] = _idle_server(folder / "home", 3.0 if chosen.quick else IDLE_S)
        found["help"] = _spent(*COMMAND, "--help")
        found |= json.loads(_output(sys.executable, str(Path(__file__).with_name("queued.py")), str(count)))
        if os.geteuid() == 0:
            world = folder / "world"
            world.mkdir()
            found["own"] = asyncio.run(_own_time(world, chosen.cache, guest, runs))
        else:
            print("Not root: the own time of a migration between real clouds is left out.")
    found["machine"]["load_after"] = os.getloadavg()[0]
    if chosen.facts:
        chosen.facts.write_text(json.dumps(found, indent=1) + "\n")
    print(overhead_page(found))
    return 0


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def _spent(*command: str, environment: dict[str, str] | None = None, times: int = 5) -> dict[str, float]:
    """Return the median wall and CPU seconds of a command."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(times):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.monotonic() - began)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}


def _idle_server(home: Path, idle_s: float) -> dict[str, Any]:
    """Start a server, let it settle and idle; then ask it through the command line."""
    home.mkdir()
    environment = dict(os.environ) | {"CROSSPORT_HOME": str(home)}
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        socket = home / "control" / "socket"
        _until(lambda: any(home.rglob("socket")) or socket.exists(), SERVER_START_S)
        ready_s = time.monotonic() - began
        time.sleep(min(3.0, idle_s))
        cpu, now = _cpu_s(process.pid), time.monotonic()
        time.sleep(idle_s)
        idle_cpu = (_cpu_s(process.pid) - cpu) / (time.monotonic() - now)
        idle_pss = pss(process.pid)
        listed = _spent(*COMMAND, "run", "list", environment=environment)
    finally:
        process.terminate()
        process.wait(30)
    return {"ready_s": ready_s, "idle_pss": idle_pss, "idle_cpu_share": idle_cpu, "run_list": listed}


def _until(there: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not there():
        if time.monotonic() > deadline:
            raise RuntimeError("The server did not come up.")
        time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _own_time(folder: Path, cache: Path, guest: Guest, runs: int) -> dict[str, Any]:
    """Migrate with every call to the outside timed; what remains of the wall time is Crossport's own."""
    clock, calls = SystemClock(), Intervals()
    host = LocalHost()
    mover = TimedMover(SimpleMover(host, clock), calls)
    probe = WorkerRateProbe(host, clock)
    rows: list[dict[str, Any]] = []
    async with laboratory(folder, mover=mover, probe=probe, connects=timed_driver(calls)) as lab:
        vm = await lab.guest(guest, cache)
        for number in range(runs):
            await lab.site.control.dry_run("default", lab.request(vm))
            calls.clear()
            moved = await crossport_way(lab, vm, number)
            wall_s = moved.extra["submitted_s"] + moved.extra["ended_s"]
            covered_s = calls.covered(calls.began, calls.began + wall_s)
            own_s = wall_s - covered_s
            rows.append({"wall_s": wall_s, "own_s": own_s, "gaps": calls.gaps(calls.began, wall_s)[:8]})
            await lab.again(vm, moved.vm)
    own_s = statistics.median(row["own_s"] for row in rows)
    wall_s = statistics.median(row["wall_s"] for row in rows)
    return {
        "guest": guest.name,
        "own_s": own_s,
        "wall_s": wall_s,
        "goal_s": max(1.0, 0.02 * wall_s),
        "runs": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
