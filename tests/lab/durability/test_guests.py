"""Kill a site in the middle of migrations of real guests: in every phase, in the copy, and taken over.

One migration is killed again and again, each execution at another place, so that few guests have to boot.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.local import clouds
from tests.unit.migration.test_cold_kill import STEPS

from crossport.clouds.local import destroy
from crossport.model.vm import PowerState
from crossport.testing.postgresql import running_postgresql
from crossport.testing.run import KillPoint

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[3]
LONG_S = 180.0
KEY = Path("identity/master.key")
PHASES = [
    ["describe-target", "after-call"],
    ["export", "after-call"],
    ["prepare-import", "after-call"],
    ["copy-disk-0", "in-call"],
    ["copy-disk-0", "in-call"],
    ["verify", "in-call"],
    ["instantiate", "after-call"],
    ["check", "in-call"],
    ["commit-source", "after-call"],
    ["commit-target", "after-call"],
]
EVERYWHERE = [[step, point.value] for step in STEPS for point in KillPoint]


class GuestSite:
    """A running process of the site, spoken to by lines."""

    def __init__(self, home: Path, name: str, url: str, halts: list[list[str]]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.durability.guest_node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            self.say(home=str(home), node=name, database_url=url, halts={"web": halts})
            self.hear("opened")
        except BaseException:
            self.end()
            raise

    def say(self, **words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def hear(self, about: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, f"the site died with {self.process.wait(LONG_S)}"
            if line.startswith("{") and about in (words := json.loads(line)):
                return words

    def end(self) -> None:
        self.process.kill()
        self.process.wait(LONG_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Guests:
    """Two embedded clouds, the VM ``web`` running at alpha, and the processes of the site."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.sites: list[GuestSite] = []
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        image = clouds.guest_image(self.home)
        for name in ("alpha", "beta"):
            await clouds.prepared(self.home / name, image)
        alpha = await clouds.connected(self.home / "alpha")
        vm = await alpha.create_vm(clouds.act("create"), clouds.described("web"), clouds.IMAGE)
        await clouds.answering(alpha, vm.id)
        await alpha.close()

    def site(self, name: str, url: str, halts: list[list[str]]) -> GuestSite:
        self._give_key(name)
        self.sites.append(GuestSite(self.home, name, url, halts))
        return self.sites[-1]

    def _give_key(self, name: str) -> None:
        """Copy the master key of the first node, as an operator does for nodes that share a database."""
        first = next(self.home.glob(f"*/{KEY}"), None)
        if first is not None and not (own := self.home / name / KEY).exists():
            own.parent.mkdir(mode=0o700, parents=True)
            own.write_bytes(first.read_bytes())
            own.chmod(0o600)

    def until_halted(self, count: int) -> None:
        calls, deadline = self.home / "calls", time.monotonic() + LONG_S
        while not calls.exists() or calls.read_text().count("halted") < count:
            assert time.monotonic() < deadline, calls.read_text() if calls.exists() else "nothing was called"
            time.sleep(0.02)

    async def running(self) -> dict[str, bool]:
        """Say at which ends the VM runs."""
        found: dict[str, bool] = {}
        for name in ("alpha", "beta"):
            cloud = await clouds.connected(self.home / name)
            found[name] = any(vm.power is PowerState.RUNNING for vm in await cloud.vms())
            await cloud.close()
        return found

    async def check_end(self) -> None:
        """The guest answers at beta alone, and alpha's is fenced."""
        assert await self.running() == {"alpha": False, "beta": True}
        alpha = await clouds.connected(self.home / "alpha")
        assert (await alpha.vm("web")).fenced
        await alpha.close()
        beta = await clouds.connected(self.home / "beta")
        vm = await beta.vm("web")
        assert not vm.quarantined
        await clouds.answering(beta, vm.id)
        await beta.close()

    def end(self) -> None:
        for site in self.sites:
            site.end()
        for name in ("alpha", "beta"):
            asyncio.run(destroy(self.home / name))


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    guests = Guests(tmp_path)
    yield guests
    guests.end()


def check_report(ended: dict[str, Any]) -> None:
    report = ended["report"]
    assert (ended["state"], report["verified"], report["left_behind"]) == ("done", "at rest", []), ended


def die_everywhere(guests: Guests, url: str, halts: list[list[str]]) -> None:
    """Migrate, and kill the site wherever ``halts`` says, one execution after another."""
    site = guests.site("a", url, halts)
    site.say(migrate="web")
    for number in range(1, len(halts) + 1):
        guests.until_halted(number)
        site.end()
        assert sum(asyncio.run(guests.running()).values()) <= 1
        site = guests.site("a", url, halts)
    site.say(migrate="web")
    check_report(site.hear("ended"))
    asyncio.run(guests.check_end())


def test_a_guest_arrives_although_its_site_dies_in_every_phase(guests: Guests) -> None:
    die_everywhere(guests, "", PHASES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_guest_arrives_although_its_site_dies_at_every_boundary_of_every_step(guests: Guests) -> None:
    die_everywhere(guests, "", EVERYWHERE)


@pytest.mark.soak
@pytest.mark.postgresql
@pytest.mark.timeout(3600)
def test_a_guest_arrives_although_its_site_dies_everywhere_on_postgresql(guests: Guests) -> None:
    with running_postgresql() as server:
        die_everywhere(guests, server.database(), EVERYWHERE)


@pytest.mark.postgresql
def test_a_guest_arrives_although_its_site_dies_and_hangs_in_the_copy(guests: Guests) -> None:
    halts = [["copy-disk-0", "in-call"], ["copy-disk-0", "in-call"]]
    with running_postgresql() as server:
        url = server.database()
        first = guests.site("a", url, halts)
        first.say(migrate="web")
        guests.until_halted(1)
        first.end()
        second = guests.site("b", url, halts)
        guests.until_halted(2)
        second.process.send_signal(signal.SIGSTOP)
        third = guests.site("c", url, halts)
        third.say(migrate="web")
        check_report(third.hear("ended"))
        second.process.send_signal(signal.SIGCONT)
        second.say(migrate="web")
        second.hear("ended")
        asyncio.run(guests.check_end())
        for site in guests.sites:
            site.end()
