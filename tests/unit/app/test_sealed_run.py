"""A migration on a whole site is sealed by the signer's process, and admitted by what that says of itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from crossport.app.clock import SystemClock
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.clouds.memory import MemoryCloud, connect
from crossport.hypervisor import confine
from crossport.identity.signing.keeper import Ask, Keeper
from crossport.identity.signing.question import AskSeal
from crossport.model.health import HealthChecks
from crossport.model.keyring import KeyRole
from crossport.model.request import CloudEntry
from crossport.model.run import Act, MigrationReport, MigrationRequest, RunState
from crossport.testing.file_disk import FileDisks
from crossport.testing.mover import MemoryMover
from crossport.testing.world import ALPHA, BETA, web_vm

TENANT = "default"
QUICK = HealthChecks(successes=1, interval_s=0.1)
WANTED = MigrationRequest(vm="web", source="alpha", target="beta", checks=QUICK)


async def test_a_run_is_sealed_by_the_signer_and_says_so(tmp_path: Path):
    async with two_clouds(tmp_path) as site:
        report = await migrated(site)
        keys = {key.id(): key.role for key in (await site.keys.keys()).document.keys}
    assert report.sealed is not None
    assert (report.sealed.site, keys[report.sealed.key]) == ("here", KeyRole.SEAL)
    assert {step.step for step in report.sealed.steps} >= {2, 11, 13, 15, 17}


@pytest.mark.parametrize("moment", ["before it is asked", "while it judges", "when it has signed"])
async def test_a_signer_that_is_killed_costs_a_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    ask, killed = Keeper.ask, list[int]()

    def kill(keeper: Keeper) -> None:
        if keeper.pid and not killed:
            killed.append(keeper.pid)
            confine.kill(keeper.pid)

    async def dying(self: Keeper, question: Ask) -> bytes:
        if not isinstance(question, AskSeal):
            return await ask(self, question)
        if moment == "before it is asked":
            kill(self)
        elif moment == "while it judges":
            asyncio.get_running_loop().call_later(0.001, kill, self)
        answer = await ask(self, question)
        if moment == "when it has signed":
            kill(self)
        return answer

    monkeypatch.setattr(Keeper, "ask", dying)
    async with two_clouds(tmp_path) as site:
        assert (await migrated(site)).sealed is not None
    assert killed


async def migrated(site: OpenSite) -> MigrationReport:
    run = await site.control.migrate(TENANT, WANTED, "")
    await site.engine.wait(run.id, 60.0)
    report = await site.control.report(TENANT, run.id)
    assert report.outcome is RunState.DONE, report.text
    return report


@asynccontextmanager
async def two_clouds(tmp_path: Path) -> AsyncGenerator[OpenSite]:
    clock = SystemClock()
    for name, offer in (("alpha", ALPHA), ("beta", BETA)):
        MemoryCloud(name, tmp_path / name).found(offer)
    alpha = MemoryCloud("alpha", tmp_path / "alpha")
    await alpha.create_vm(Act(run="made", step="create", epoch=1), web_vm(), "boot and data")
    mover = MemoryMover(cast("Any", FileDisks()), clock)
    settings = SiteSettings(name="here", state_dir=tmp_path / "state")
    async with open_site(settings, clock, mover, connects={"memory": connect}) as site:
        for name in ("alpha", "beta"):
            entry = CloudEntry(name=name, driver="memory", settings={"path": str(tmp_path / name)})
            await site.control.add_cloud(TENANT, entry)
        yield site
