"""How long a guest is away when it moves warm, beside its own shutdown and boot: both seen from outside.

Somebody between the clouds asks the guest twenty times a second; the outage lies between the last answer of
the one and the first of the other. Meanwhile somebody stores 64 KiB on it five times a second. Each round
shuts the guest down and starts it again where it is, then moves it, with the comparison at rest and without.
Prints a table; ``--facts`` writes every round as JSON. Needs root, for namespaces and a link with a rate.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.app import log
from crossport.cli.demo.visitor import Visitor, Watcher
from crossport.clouds.local import LocalCloud
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.run import Act, MigrationReport, Mode, RunState, Verify, WarmRules
from crossport.model.vm import VM
from laboratory import GUESTS, TENANT, WAN_RATE_BPS, Guest, Laboratory, laboratory
from machine import CACHE, SCRATCH, facts
from warm_page import warm_table

CHECKS = HealthChecks(
    probes=(Probe(kind=ProbeKind.HTTP, port=80),), successes=1, interval_s=0.5, timeout_s=120
)
"""One answer is enough: the shutdown and boot it is compared with waits for no second one either. Each
question starts a process, and asking more often takes the processor from a guest that boots."""
SHUTDOWN_S = 60.0
STORED = "x" * (64 << 10)
STORE_EVERY_S = 0.2
SETTLE_S = 0.5


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2, help="rounds (default 2)")
    parser.add_argument(
        "--small", action="store_true", help="one round with a guest of 20 MB, compared at rest"
    )
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write every round as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where the clouds are made")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where guests are kept")
    chosen = parser.parse_args()
    log.configure("warning")
    if os.geteuid() != 0:
        print("bench/warm.py needs root: it makes network namespaces and a link of 1 Gbit/s.")
        return 2
    guest = Guest("20 MB", 0) if chosen.small else GUESTS[0]
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as folder:
        ways = (Verify.REST,) if chosen.small else tuple(Verify)
        rounds = [ways] if chosen.small else [ways, ways[::-1]] * chosen.runs
        found = asyncio.run(_measured(Path(folder), chosen.cache, guest, rounds[: chosen.runs]))
    if chosen.facts:
        chosen.facts.write_text(json.dumps(found, indent=1) + "\n")
    print(warm_table(found))
    return 0


async def _measured(
    folder: Path, cache: Path, guest: Guest, rounds: list[tuple[Verify, ...]]
) -> dict[str, Any]:
    """Measure in rounds that move the guest in these ways, in turn, so that none is always the first."""
    found: dict[str, Any] = {"machine": facts(folder), "link_bps": WAN_RATE_BPS, "guest": guest.name}
    rows: list[dict[str, Any]] = []
    async with laboratory(folder) as lab:
        vm = await lab.guest(guest, cache)
        found["machine"]["accelerator"] = (await lab.alpha.about()).accelerator
        for number, verifies in enumerate(rounds):
            rows.append({"way": "restart", "outage_s": await _restarted(lab, vm, number)})
            for verify in verifies:
                moved, row = await _moved(lab, vm, f"{number}-{verify}", verify)
                rows.append(row)
                if (number + 1, verify) != (len(rounds), verifies[-1]):
                    await lab.again(vm, moved)
            print("; ".join(f"{row['way']}: {row['outage_s']:.1f} s" for row in rows), file=sys.stderr)
    ways = dict.fromkeys(row["way"] for row in rows)
    found["rounds"] = rows
    found["outage_s"] = {
        way: statistics.median(row["outage_s"] for row in rows if row["way"] == way) for way in ways
    }
    found["machine"]["load_after"] = os.getloadavg()[0]
    return found


async def _restarted(lab: Laboratory, vm: VM, number: int) -> float:
    """Shut the guest down and start it again; return how long it was away."""
    act, url = Act(run=f"restart-{number}", step="restart", epoch=1), await _url(lab.alpha, vm)
    async with Watcher.posted(lab.wan) as before, Watcher.posted(lab.wan) as after:
        async with _stored(lab, lab.alpha, vm):
            await before.watch(url)
            await asyncio.sleep(SETTLE_S)
            if not await lab.alpha.shut_down(act, vm.id, SHUTDOWN_S):
                raise RuntimeError("The guest did not shut down.")
        last = (await before.relieved()).last
        await after.watch(url)
        await lab.alpha.start(act, vm.id)
        await lab.answered(lab.alpha, vm)
        await asyncio.sleep(SETTLE_S)
        return (await after.relieved()).first - last


async def _moved(lab: Laboratory, vm: VM, name: str, verify: Verify) -> tuple[VM, dict[str, Any]]:
    """Move the guest warm; return it, how long it was away, and of what that was made."""
    rules = WarmRules(max_outage_s=600.0, verify=verify)
    request = replace(lab.request(vm), mode=Mode.WARM, warm=rules, checks=CHECKS, accept=("verify.stream",))
    async with Watcher.posted(lab.wan) as before, Watcher.posted(lab.wan) as after:
        async with _stored(lab, lab.alpha, vm):
            await before.watch(await _url(lab.alpha, vm))
            run = await lab.site.control.migrate(TENANT, request, f"warm-{name}")
            await after.watch(await _url(lab.beta, await _arrived(lab)))
            await lab.site.engine.wait(run.id, 120.0)
        report = await lab.site.control.report(TENANT, run.id)
        if report.outcome is not RunState.DONE:
            raise RuntimeError(f"{report.outcome}: {report.text}")
        moved = await lab.beta.vm(report.vm_id)
        await lab.answered(lab.beta, moved)
        await asyncio.sleep(SETTLE_S)
        outage_s = (await after.relieved()).first - (await before.relieved()).last
    return moved, {"way": f"warm, {verify}", "outage_s": outage_s, **_parts(report)}


def _parts(report: MigrationReport) -> dict[str, Any]:
    return {
        "told_s": report.outage_s,
        "verified": report.verified,
        "phases": {phase.name: phase.seconds for phase in report.phases},
        "health_s": report.health.seconds if report.health else None,
        "syncs": [
            {"what": one.what, "seconds": one.seconds, "read": one.read, "sent": one.sent}
            for one in report.syncs
        ],
    }


async def _arrived(lab: Laboratory) -> VM:
    """Return the VM at the target as soon as it is there and reachable by address."""
    async with asyncio.timeout(120):
        while True:
            for vm in await lab.beta.vms():
                if await lab.beta.door(vm.id, 80) is not None:
                    return vm
            await asyncio.sleep(0.1)


async def _url(cloud: LocalCloud, vm: VM) -> str:
    door = await cloud.door(vm.id, 80)
    if door is None:
        raise RuntimeError(f"{vm.name} cannot be reached.")
    return f"http://{door.host}:{door.port}"


@contextlib.asynccontextmanager
async def _stored(lab: Laboratory, cloud: LocalCloud, vm: VM) -> AsyncGenerator[None]:
    """Have somebody store things on the guest until the block is left or it does not answer any more."""
    async with Visitor.sent(lab.wan) as visitor:
        storing = asyncio.create_task(_storing(visitor, await _url(cloud, vm)))
        try:
            yield
        finally:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)


async def _storing(visitor: Visitor, url: str) -> None:
    with contextlib.suppress(errors.Unavailable, errors.Broken):
        for number in count():
            await visitor.store(url, f"w-{number % 12}", f"{number} {STORED}")
            await asyncio.sleep(STORE_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
