"""Kill a real site at every boundary of every step of a migration; it must end as if undisturbed.

Each boundary is met by a migration of its own: they all stand still at theirs when the process gets its
SIGKILL, or hangs and is taken over. The clouds are simulated ones, in directories that outlive the process.
"""

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold_kill import BACK, STEPS

from crossport.clouds.memory import MemoryCloud
from crossport.model.construct import Quota
from crossport.model.run import Act
from crossport.model.vm import VM, PowerState
from crossport.testing.postgresql import Postgresql, running_postgresql
from crossport.testing.run import KillPoint
from crossport.testing.world import ALPHA, BETA, web_vm
from crossport.units import GIB

NODE = Path(__file__).with_name("node.py")
LEASE_S = 8.0
"""Longer than a busy machine takes to begin 63 runs again: a run that nobody executes for two of them is
begun once more."""
LONG_S = 150.0
PLENTY = Quota(vms=1000, cpus=1000, memory=1000 * GIB, disk=1000 * GIB)
FORTH = {f"forth-{step}-{point}": [step, point.value] for step in STEPS for point in KillPoint}
BACKWARD = {f"back-{step}-{point}": [step, point.value] for step in BACK for point in KillPoint}
WARM = {
    f"warm-{step}": [step, KillPoint.AFTER_CALL.value]
    for step in (
        "sync-0-open",
        "sync-0-disk-0",
        "sync-0-back",
        "cutover-open",
        "cutover-disk-0",
        "compare",
    )
}
CALM = {"forth-calm": ["", ""], "back-calm": ["", ""], "warm-calm": ["", ""]}
HALTS = {**FORTH, **BACKWARD, **WARM}


class Site:
    """A running process of the site, spoken to by lines."""

    def __init__(self, home: Path, name: str, database_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(NODE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ended: dict[str, dict[str, Any]] = {}
        self._say(
            home=str(home),
            node=name,
            database_url=database_url,
            lease_s=LEASE_S,
            halts={vm: [halt] for vm, halt in HALTS.items()},
        )
        self._hear("opened")

    def migrate(self, vms: list[str]) -> None:
        for vm in vms:
            self._say(migrate=vm)

    def wait_for(self, vms: list[str]) -> dict[str, dict[str, Any]]:
        while not set(vms) <= set(self.ended):
            words = self._hear("ended")
            self.ended[words["ended"]] = words
        return {vm: self.ended[vm] for vm in vms}

    def _say(self, **words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def _hear(self, about: str) -> dict[str, Any]:
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


class Field:
    """Both clouds with a VM for every boundary, and the processes around them."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.database_url = database_url
        self.sites: list[Site] = []
        self.alpha = MemoryCloud("alpha", home / "alpha")
        self.beta = MemoryCloud("beta", home / "beta")
        self.alpha.found(dataclasses.replace(ALPHA, free=PLENTY))
        self.beta.found(dataclasses.replace(BETA, free=PLENTY))
        asyncio.run(self._make_vms())

    async def _make_vms(self) -> None:
        for name in (*HALTS, *CALM):
            tags = {"guest.health": "bad-elsewhere"} if name.startswith("back-") else {}
            wanted = web_vm()
            disk = dataclasses.replace(wanted.disks[0], size=300_000)
            vm = dataclasses.replace(wanted, name=name, tags=tags, disks=(disk,))
            await self.alpha.create_vm(Act(run=name, step="create", epoch=1), vm, f"boot and data of {name}")

    def site(self, name: str = "a") -> Site:
        site = Site(self.home, name, self.database_url)
        self.sites.append(site)
        return site

    def calls(self) -> list[list[str]]:
        """Return lines of VM, epoch, node, step, word."""
        path = self.home / "calls"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def until_all_halt(self) -> None:
        deadline = time.monotonic() + LONG_S
        while sum(line[-1] == "halted" for line in self.calls()) < len(HALTS):
            assert time.monotonic() < deadline, set(HALTS) - {
                one[0] for one in self.calls() if one[-1] == "halted"
            }
            time.sleep(0.05)

    def picture(self) -> dict[str, tuple[VM, ...]]:
        """Return all VMs of both clouds as they are now."""
        return {cloud.name: asyncio.run(cloud.vms()) for cloud in (self.alpha, self.beta)}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with running_postgresql() as server:
        yield server


@pytest.fixture
def field(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Field]:
    shared = request.param == "postgresql"
    url = request.getfixturevalue("server").database() if shared else ""
    # In memory: a killed process loses nothing there, and thousands of commits need no disk.
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as home:
        field = Field(Path(home), url)
        yield field
        for site in field.sites:
            site.end()


both = pytest.mark.parametrize(
    "field", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
shared = pytest.mark.parametrize(
    "field", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


def check_world(field: Field, vms: list[str]) -> None:
    """Of every VM exactly one runs, with its data, and nothing else is left."""
    picture = field.picture()
    here = {vm.name: vm for vm in picture["alpha"]}
    there = {vm.name: vm for vm in picture["beta"]}
    for name in vms:
        source, content = here[name], f"boot and data of {name}".encode()
        if name.startswith(("forth-", "warm-")):
            assert (source.power, source.fenced) == (PowerState.STOPPED, True), name
            copy = there.pop(name)
            assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False), name
            moved = field.beta.disk_path(copy.disks[0].id).read_bytes()
            assert moved == field.alpha.disk_path(source.disks[0].id).read_bytes()
            assert moved.startswith(content)
        else:
            assert (source.power, source.fenced) == (PowerState.RUNNING, False), name
    assert not there
    kept = {disk.id for vm in picture["beta"] for disk in vm.disks}
    assert {path.name for path in (field.home / "beta/disks").iterdir()} == kept
    assert [line for line in field.calls() if line[-1] == "both-running"] == []


def check_ends(ended: dict[str, dict[str, Any]]) -> None:
    """Reports and ledgers say the same as those of the undisturbed migrations."""
    for name, words in ended.items():
        calm = ended[f"{name.split('-', maxsplit=1)[0]}-calm"]
        assert words["state"] == calm["state"], (name, words["text"])
        report, quiet = words["report"], calm["report"]
        assert [phase["name"] for phase in report["phases"]] == [phase["name"] for phase in quiet["phases"]]
        assert (report["outcome"], report["code"], report["left_behind"]) == (
            quiet["outcome"],
            quiet["code"],
            [],
        )
        states = {(one["kind"], one["state"]) for one in words["ledger"]}
        assert states == {(one["kind"], one["state"]) for one in calm["ledger"]}, name


def check_calls(field: Field, ended: dict[str, dict[str, Any]]) -> None:
    """Only what was done and not yet written down is done again."""
    counted = Counter((vm, step) for vm, _, _, step, word in field.calls() if word == "called")
    for name in ended:
        calm = f"{name.split('-', maxsplit=1)[0]}-calm"
        again = HALTS.get(name, ["", ""])
        for step in [step for vm, step in counted if vm == calm]:
            twice = step == again[0] and again[1] == KillPoint.AFTER_CALL
            assert counted[name, step] == 1 + twice, (name, step)


@both
def test_migrations_killed_at_every_boundary_end_like_undisturbed_ones(field: Field) -> None:
    everyone = [*HALTS, *CALM]
    site = field.site()
    site.migrate(everyone)
    field.until_all_halt()
    calm = site.wait_for([*CALM])
    site.process.send_signal(signal.SIGKILL)
    site = field.site()
    site.migrate(everyone)
    ended = site.wait_for(everyone)
    assert calm["forth-calm"]["state"] == calm["warm-calm"]["state"] == "done"
    assert calm["back-calm"]["state"] == "rolled-back"
    assert {words["epoch"] for name, words in ended.items() if name in HALTS} == {2}
    check_ends(ended)
    check_world(field, everyone)
    check_calls(field, ended)


@shared
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP])
def test_another_node_takes_every_migration_over(field: Field, death: signal.Signals) -> None:
    everyone = [*HALTS, *CALM]
    first = field.site("a")
    first.migrate(everyone)
    field.until_all_halt()
    first.wait_for([*CALM])
    second = field.site("b")  # not earlier: it would share the work
    first.process.send_signal(death)
    second.migrate(everyone)
    ended = second.wait_for(everyone)
    check_ends(ended)
    check_world(field, everyone)
    check_calls(field, ended)
    if death is signal.SIGSTOP:
        check_that_a_sleeper_changes_nothing(field, first)


def check_that_a_sleeper_changes_nothing(field: Field, first: Site) -> None:
    """Wake the node that hung: it goes on exactly where it stood, and may not change anything."""
    before, calls = field.picture(), field.calls()
    (field.home / "released").touch()
    first.process.send_signal(signal.SIGCONT)
    first.wait_for([*HALTS])
    assert field.picture() == before
    late = [line for line in field.calls()[len(calls) :] if line[-1] == "called" and line[1] != "1"]
    assert late == []
