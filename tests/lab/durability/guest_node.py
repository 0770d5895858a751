"""One site in a process that is to be killed, with the product's own parts: embedded clouds and real guests.

It is spoken to like ``node.py``. Nothing is replaced; only the contexts of its runs are watched.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.lab.durability.node import TENANT, Watched, say

from crossport.app.clock import SystemClock
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.migration.control import SiteControl
from crossport.model import codec
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.request import CloudEntry
from crossport.model.run import MigrationReport, MigrationRequest

CHECKS = HealthChecks(
    probes=(Probe(kind=ProbeKind.HTTP, port=80, path="/cgi-bin/state"),), successes=2, timeout_s=120.0
)


class GuestNotes:
    """Where this process is to stand still, and the file of calls."""

    def __init__(self, home: Path, name: str, halts: dict[str, list[list[str]]]) -> None:
        self.halts = halts
        self.released = home / "released"
        self._file = home / "calls"
        self._name = name

    def write(self, vm: str, epoch: int, step: str, word: str) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{vm} {epoch} {self._name} {step} {word}\n".encode())
        os.close(descriptor)

    def look(self, vm: str, run: str) -> None:
        """Leave it to the test, which asks the clouds."""


def watch(notes: GuestNotes) -> None:
    """Let every migration of this process run in a watched context."""
    whole = SiteControl.run_migration

    async def watched(self: SiteControl, context: Any, request: MigrationRequest) -> MigrationReport:
        watched_context: Any = Watched(context, request.vm, notes)
        return await whole(self, watched_context, request)

    SiteControl.run_migration = watched


async def migrate(site: OpenSite, vm: str) -> None:
    request = MigrationRequest(vm=vm, source="alpha", target="beta", checks=CHECKS, power_off=True)
    run = await site.control.migrate(TENANT, request, key=vm)
    ended = await site.engine.wait(run.id, 3600.0)
    report = codec.plain(await site.control.report(TENANT, run.id))
    say(ended=vm, run=run.id, state=ended.state.value, epoch=ended.epoch, text=ended.attention, report=report)


async def main() -> None:
    config = json.loads(sys.stdin.readline())
    home = Path(config["home"])
    watch(GuestNotes(home, config["node"], config["halts"]))
    settings = SiteSettings(
        name="here",
        state_dir=home / config["node"],
        node=config["node"],
        database_url=config["database_url"],
    )
    loop = asyncio.get_running_loop()
    async with open_site(settings, SystemClock()) as site, asyncio.TaskGroup() as group:
        known = [entry.name for entry in await site.control.clouds(TENANT)]
        for name in ("alpha", "beta"):
            if name not in known:
                entry = CloudEntry(name=name, driver="local", settings={"path": str(home / name)})
                await site.control.add_cloud(TENANT, entry)
        say(opened=config["node"])
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            group.create_task(migrate(site, json.loads(line)["migrate"]))


if __name__ == "__main__":
    asyncio.run(main())
