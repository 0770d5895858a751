"""A real guest that is written to all the time moves warm between two embedded clouds, seen from outside.

Somebody stores things on the guest's disk, one after the other, and notes which the guest said are durable;
after the move the guest has to have each of them. The outage is the time between two answers.
"""

import asyncio
import hashlib
import itertools
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act, answering

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.app.site import SiteSettings, open_site
from crossport.clouds.local import LocalCloud
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.request import CloudEntry
from crossport.model.run import MigrationReport, MigrationRequest, Mode, RunState, WarmRules
from crossport.testing.guest import client

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900)]

LOG = logging.getLogger(__name__)
TENANT = "default"
NAMES = 12
PIECE = 64 << 10
ANSWERS = Probe(kind=ProbeKind.HTTP, port=80)
"""Not the guest's own report: it reads all that was stored, which takes a busy machine too long."""
PAUSE_S = 0.2
"""Between two stores: the guest has one slow processor, and others ask it too."""


@dataclass
class Visitor:
    """Stores under a few names, again and again. ``durable`` is what the guest has promised for each."""

    clouds: tuple[LocalCloud, ...]
    durable: dict[str, str] = field(default_factory=dict[str, str])
    in_flight: tuple[str, str] = ("", "")
    answers: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    async def visit(self) -> None:
        for number in itertools.count():
            name, body = f"w-{number % NAMES}", f"{number} ".encode() * (PIECE // 8)
            while not await self._stored(name, body):  # noqa: ASYNC110 - a guest tells nobody that it is up
                await asyncio.sleep(0.1)
            await asyncio.sleep(PAUSE_S)

    async def _stored(self, name: str, body: bytes) -> bool:
        self.in_flight = (name, hashlib.sha256(body).hexdigest())
        for cloud in self.clouds:
            for vm in await cloud.vms():
                door = await cloud.door(vm.id, 80)
                if door is None:
                    continue
                try:
                    where = f"http://{door.host}:{door.port}"
                    self.durable[name] = await asyncio.to_thread(
                        client.store, where, name, body, timeout_s=5.0
                    )
                except (errors.Unavailable, errors.Broken):
                    continue  # on its way down, or up
                self.answers.append((time.monotonic(), cloud.name))
                return True
        return False

    def outage_s(self) -> float:
        """Return the longest time without an answer across the move."""
        return max(
            later - earlier
            for (earlier, here), (later, there) in itertools.pairwise(self.answers)
            if here != there
        )


async def moved(root: Path) -> MigrationReport:
    settings = SiteSettings(name="here", state_dir=root / "state", node="a", database_url="")
    checks = HealthChecks(probes=(ANSWERS,), successes=1, timeout_s=180.0)
    wanted = MigrationRequest(
        vm="web",
        source="alpha",
        target="beta",
        mode=Mode.WARM,
        warm=WarmRules(max_outage_s=300.0),
        checks=checks,
        accept=("check.baseline",),  # a busy machine may let it wait longer than ten seconds
    )
    async with open_site(settings, SystemClock()) as site:
        for name in ("alpha", "beta"):
            entry = CloudEntry(name=name, driver="local", settings={"path": str(root / name)})
            await site.control.add_cloud(TENANT, entry)
        run = await site.control.migrate(TENANT, wanted, "")
        await site.engine.wait(run.id, 360.0)
        return await site.control.report(TENANT, run.id)


async def test_a_guest_that_is_written_to_all_the_time_moves_warm(tmp_path: Path):
    image = clouds.guest_image(tmp_path)
    async with (
        clouds.running_cloud(tmp_path / "alpha", image, network="user") as alpha,
        clouds.running_cloud(tmp_path / "beta", image, network="user") as beta,
    ):
        vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        await answering(alpha, vm.id)
        visitor = Visitor((alpha, beta))
        visiting = asyncio.create_task(visitor.visit())
        try:
            report = await moved(tmp_path)
            async with asyncio.timeout(60):
                while visitor.answers[-1][1] != "beta":  # noqa: ASYNC110 - the other task says so
                    await asyncio.sleep(0.1)
        finally:
            visiting.cancel()
            await asyncio.gather(visiting, return_exceptions=True)

        assert (report.outcome, report.verified) == (RunState.DONE, "at rest"), report.text
        what = [sync.what for sync in report.syncs]
        assert (what[:2], what[-2:]) == (["first", "delta"], ["last", "comparison"])
        first, delta, *_, comparison = report.syncs
        assert (first.consistency, delta.consistency, comparison.consistency) == ("frozen", "frozen", "off")
        assert 0 < delta.read < first.read / 2
        assert comparison.sent < first.sent / 2 < comparison.read
        assert [one.code for one in report.findings if one.code.startswith("warm.")] == []
        door = await beta.door(report.vm_id, 80)
        assert door is not None
        where = f"http://{door.host}:{door.port}"
        after = await asyncio.to_thread(client.state, where, timeout_s=60.0)
        assert after.boots == 2
        for name, digest in visitor.durable.items():
            allowed = {digest, visitor.in_flight[1]} if name == visitor.in_flight[0] else {digest}
            assert after.data[name] in allowed, name
        assert report.outage_s is not None
        assert visitor.outage_s() < report.outage_s + 30
        assert await alpha.door(vm.id, 80) is None
        LOG.info("outage seen %.1f s, told %.1f s; %s", visitor.outage_s(), report.outage_s, report.syncs)
