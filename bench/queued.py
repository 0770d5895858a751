"""Two hundred migrations queued at once on simulated clouds, and the engine's own latencies: JSON on stdout.

A process of its own, so that its memory and CPU time are those of the site alone.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.clouds.memory import MemoryCloud
from crossport.engine import Engine, EngineSettings
from crossport.model.construct import Quota
from crossport.model.mapping import MappingRules
from crossport.model.record import record
from crossport.model.request import CloudEntry
from crossport.model.run import Act, MigrationRequest, RunState
from crossport.spi.run import RunContext
from crossport.testing.file_disk import FileDisks
from crossport.testing.mover import MemoryMover
from crossport.testing.world import ALPHA, BETA, web_vm
from machine import pss

TENANT = "default"
STEPS = 100
LIMIT_S = 500.0


def main() -> int:
    """Measure with as many runs as the first argument says."""
    log.configure("warning")
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measured(Path(folder), count))
    print(json.dumps(found))
    return 0


async def _measured(folder: Path, count: int) -> dict[str, Any]:
    await _founded(folder, count + 1)
    clock = SystemClock()
    mover = MemoryMover(FileDisks(), clock)  # pyright: ignore[reportArgumentType] - files stand for memory
    async with open_site(SiteSettings(name="bench", state_dir=folder / "site"), clock, mover) as site:
        for name in ("alpha", "beta"):
            entry = CloudEntry(name=name, driver="memory", settings={"path": str(folder / name)})
            await site.control.add_cloud(TENANT, entry)
        found = await _many(site, count)
    return {"queued": found, "engine": await _latencies(folder / "engine")}


async def _founded(folder: Path, count: int) -> None:
    room = Quota(vms=10_000, cpus=100_000, memory=1 << 50, disk=1 << 50)
    for name, offered in (("alpha", ALPHA), ("beta", BETA)):
        cloud = MemoryCloud(name, folder / name)
        cloud.found(replace(offered, free=room, disk_free=1 << 50))
        for number in range(count if name == "alpha" else 0):
            vm = replace(web_vm(), name=f"web-{number}")
            await cloud.create_vm(Act(run=f"seed-{number}", step="create", epoch=1), vm, "boot")


def _request(number: int) -> MigrationRequest:
    rules = MappingRules(networks={"app": "frontend"})
    return MigrationRequest(vm=f"web-{number}", source="alpha", target="beta", rules=rules)


async def _many(site: OpenSite, count: int) -> dict[str, Any]:
    """Run one migration alone, so that everything is loaded, then ``count`` at once."""
    control = site.control
    began = time.monotonic()
    first = await control.migrate(TENANT, _request(count), "first")
    accepted_s = time.monotonic() - began
    await site.engine.wait(first.id, LIMIT_S)
    single_s = time.monotonic() - began
    before, cpu = pss(os.getpid()), time.process_time()
    began = time.monotonic()
    runs = [await control.migrate(TENANT, _request(number), f"k-{number}") for number in range(count)]
    queued_s, peak = time.monotonic() - began, before
    states: set[RunState] = set()
    for run in runs:
        while not (now := await site.engine.runs.fetch(run.id)).state.final:
            peak = max(peak, pss(os.getpid()))
            await asyncio.sleep(0.25)
        states.add(now.state)
    return {
        "count": count,
        "states": sorted(states),
        "accepted_s": accepted_s,
        "single_s": single_s,
        "queued_s": queued_s,
        "all_s": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
        "pss_before": before,
        "pss_peak": peak,
        "pss_growth": peak / before - 1,
    }


@record()
class _Nothing:
    """A request and a report without content."""

    number: int = 0


async def _latencies(folder: Path) -> dict[str, Any]:
    """Time the way from submission to the first line of a run, and of steps that do nothing."""
    starts: list[float] = []
    steps: list[float] = []

    async def workflow(context: RunContext, request: _Nothing) -> _Nothing:
        starts.append(time.monotonic())

        async def nothing() -> int:
            return 1

        for number in range(request.number):
            began = time.monotonic()
            await context.step(f"step-{number}", nothing, result=int)
            steps.append(time.monotonic() - began)
        return _Nothing()

    engine = Engine(EngineSettings(state_dir=folder), SystemClock())
    engine.register("bench", workflow, request=_Nothing, report=_Nothing)
    waits: list[float] = []
    submits: list[float] = []
    async with engine:
        for number in range(20):
            began = time.monotonic()
            run = await engine.submit("bench", _Nothing(), run_id=f"r{number}")
            submits.append(time.monotonic() - began)
            await engine.wait(run.id, 30)
            waits.append(starts[-1] - began)
        run = await engine.submit("bench", _Nothing(number=STEPS), run_id="steps")
        await engine.wait(run.id, 60)
    return {
        "submit_ms": statistics.median(submits) * 1e3,
        "submit_to_first_line_ms": statistics.median(waits) * 1e3,
        "step_ms": statistics.median(steps) * 1e3,
        "step_p95_ms": sorted(steps)[int(len(steps) * 0.95)] * 1e3,
    }


if __name__ == "__main__":
    sys.exit(main())
