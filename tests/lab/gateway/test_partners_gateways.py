"""Gateways of two owners: one lies, either is killed while a VM goes over, and the link of the sites is cut.

Servers, gateways and the link are the program itself, but that a gateway vouches for what the test wants when
it says so; the clouds are simulated ones with disks in files.
"""

import asyncio
import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gateway.between import run
from tests.lab.gateway.gateway_process import GatewayProcess
from tests.lab.serve.test_life import PROGRAM
from tests.lab.serve.two_sites import Owner, TwoOwners
from tests.lab.transfer.transfer_lab import workers_of

from crossport.clouds.memory import MemoryCloud
from crossport.gateway.agent import BACKOFF_S
from crossport.model.run import Act
from crossport.model.vm import PowerState
from crossport.testing.conformance.block import noise
from crossport.testing.world import ALPHA, web_vm
from crossport.units import MIB

pytestmark = [pytest.mark.root]

LOG = logging.getLogger(__name__)
SIZE = 64 * MIB
LARGE, MUCH = 128 * MIB, 72 * MIB
"""A disk, and how much of it has arrived when a gateway is killed: more than may be sent again."""
SENT_AGAIN = 64 * MIB
SOON_S, BUSY_S = 5.0, 60.0
"""How soon new bytes are seen on a quiet machine, and by a test that shares it with others."""
LONG_S = 120.0
UNIT = Path(__file__).parents[3] / "packaging/systemd/crossport-gateway.service"
LIAR = Path(__file__).with_name("lying_gateway.py")
LIES = {
    ("alpha", "silent"): "image.unclaimed",
    ("alpha", "run"): "signer.claim.other",
    ("alpha", "content"): "signer.seal.disks",
    ("alpha", "cloud"): "signer.claim.cloud",
    ("beta", "silent"): "image.unwitnessed",
    ("beta", "run"): "signer.claim.other",
    ("beta", "content"): "seal.disk.content",
    ("beta", "cloud"): "signer.claim.cloud",
}
"""Beside which cloud a gateway lies about what, and what its own site says to that."""
SEATS = (
    ("north", "alpha", "VMExportSubnet"),
    ("north", "gamma", "VMExportSubnet"),
    ("south", "beta", "VMImportSubnet"),
    ("south", "delta", "VMImportSubnet"),
)
CUT = """
table inet {name} {{
  chain in {{
    type filter hook input priority -1
    iifname "lo" tcp dport {ports} drop
    iifname "lo" tcp sport {ports} drop
  }}
}}
"""


@dataclass(frozen=True)
class Copy:
    """One attempt at a copy: when the first of its bytes were told of, and how many were sent at last."""

    began: float = 0.0
    sent: int = 0


@dataclass
class Field:
    """Two owners, each with a gateway beside its cloud."""

    two: TwoOwners
    gateways: dict[str, GatewayProcess] = field(default_factory=dict[str, GatewayProcess])

    def join(self, name: str, cloud: str, subnet: str) -> None:
        """Enroll a gateway at its owner, and start it."""
        owner: Owner = getattr(self.two, name)
        (home := self.two.root / f"gateway-{cloud}").mkdir(mode=0o700)
        file = home / "join"
        told = owner.answered("gateway", "enroll", cloud, subnet, "--file", str(file))
        words = ("--join", str(file), "--authority", told["command"].split()[-1])
        self.lie(cloud, "")
        within = (sys.executable, str(LIAR), str(home / "lie"))
        self.gateways[cloud] = GatewayProcess.started(home, told["gateway"], within, words)
        shown = ("gateway", "list")
        mine = told["gateway"]
        owner.machine.wait(
            lambda: [one["connected"] for one in owner.answered(*shown) if one["id"] == mine] == [True],
            LONG_S,
        )

    def lie(self, cloud: str, what: str) -> None:
        """Let the gateway beside a cloud say what is not so from now on; nothing for the truth."""
        (self.two.root / f"gateway-{cloud}/lie").write_text(what)

    def make(self, name: str, size: int = SIZE) -> bytes:
        """Make a VM at alpha; return what is on its disk."""
        wanted = web_vm()
        disk = dataclasses.replace(wanted.disks[0], size=size)
        wanted = dataclasses.replace(wanted, name=name, disks=(disk,))
        act = Act(run=name, step="create", epoch=1)
        vm = asyncio.run(self.two.alpha.create_vm(act, wanted, "boot and data"))
        content = noise(size, name)
        self.two.alpha.disk_path(vm.disks[0].id).write_bytes(content)
        return content

    def arrived(self) -> int:
        """Return how many bytes lie on disks at beta."""
        return sum(path.stat().st_blocks * 512 for path in (self.two.root / "beta/disks").glob("*"))

    def beyond(self, size: int, within_s: float = LONG_S) -> float:
        """Return after how long more than ``size`` bytes lie at beta."""
        began = time.monotonic()
        self.two.north.machine.wait(lambda: self.arrived() > size, within_s)
        return time.monotonic() - began

    def moving(self, name: str) -> str:
        """Let a VM go over; return the run."""
        words = ("migrate", name, "--from", "alpha", "--to", "beta@south", "--detach")
        return str(self.two.north.answered(*words)["id"])

    def report(self, run: str) -> dict[str, Any]:
        """Return the report of a run that ends."""
        north = self.two.north
        watching = north.machine.start("run", "watch", run, CROSSPORT_SETTINGS=str(north.settings))
        watching.communicate(timeout=LONG_S)
        return north.answered("run", "report", run)

    def retried(self, run: str) -> list[float]:
        """Return for how many seconds each time the run waited before it tried a step again."""
        lines = self.two.north.settings.with_suffix(".log").read_text().splitlines()
        told = [json.loads(line) for line in lines if '"step.retry"' in line]
        return [one["pause_s"] for one in told if one["run"] == run]

    @contextmanager
    def watched(self, run: str) -> Generator[list[Copy]]:
        """Give the attempts at the copy of a run: at the end, as they were told in its course."""
        north, file, copies = self.two.north, self.two.root / f"watched-{run}", list[Copy]()
        environment = north.machine.environment(CROSSPORT_SETTINGS=str(north.settings))
        with file.open("wb") as out:
            watching = subprocess.Popen(
                [*PROGRAM, "run", "watch", run, "--json"], env=environment, stdout=out
            )
            try:
                yield copies
                watching.wait(LONG_S)
            finally:
                watching.kill()
                watching.wait()
        copies += _copies(json.loads(line) for line in file.read_text().splitlines())

    @contextmanager
    def cut(self) -> Generator[None]:
        """Let nothing pass between the two servers, without a word to anybody."""
        name = f"crossport-cut-{os.getpid()}"
        ports = f"{{ {self.two.north.port}, {self.two.south.port} }}"
        run("nft", "-f", "-", told=CUT.format(name=name, ports=ports))
        try:
            yield
        finally:
            run("nft", "delete", "table", "inet", name)


def _copies(events: Iterable[dict[str, Any]]) -> list[Copy]:
    copies = [Copy()]
    for event in events:
        sent = event["progress"]["counters"]["sent"] if event["kind"] == "progress" else 0
        if sent and sent < copies[-1].sent:
            copies.append(Copy())
        if sent:
            copies[-1] = Copy(copies[-1].began or event["time"], sent)
    return copies


def _restart_s() -> float:
    """Return how long a service manager waits before it starts a gateway again."""
    told = UNIT.read_text().splitlines()
    [line] = [line for line in told if line.startswith("RestartSec=")]
    return float(line.partition("=")[2])


@pytest.fixture(scope="module")
def field_(tmp_path_factory: pytest.TempPathFactory) -> Generator[Field]:
    with TwoOwners(tmp_path_factory.mktemp("owners")) as two:
        one = Field(two)
        try:
            for owner, cloud in ((two.north, "gamma"), (two.south, "delta")):
                MemoryCloud(cloud, two.root / cloud).found(dataclasses.replace(ALPHA, cloud=cloud))
                owner.run("cloud", "add", cloud, "memory", "--set", f"path={two.root / cloud}")
            for seat in SEATS:
                one.join(*seat)
            yield one
        finally:
            for gateway in one.gateways.values():
                gateway.kill()


def test_what_no_gateway_vouches_for_is_refused_at_both_ends(field_: Field) -> None:
    two = field_.two
    two.make("liar")
    found: dict[tuple[str, str], str] = {}
    for cloud, what in LIES:
        field_.lie(cloud, what)
        try:
            report = field_.report(field_.moving("liar"))
        finally:
            field_.lie(cloud, "")
        assert report["outcome"] == "rolled-back", (cloud, what)
        found[cloud, what] = report["code"]
        source = asyncio.run(two.alpha.vm("liar"))
        assert (source.power, source.fenced) == (PowerState.RUNNING, False)
        assert asyncio.run(two.beta.vms()) == ()
    assert found == LIES
    assert field_.report(field_.moving("liar"))["outcome"] == "done"
    two.check("liar")


@pytest.mark.parametrize("end", ["alpha", "beta"])
def test_a_gateway_of_either_owner_that_is_killed_costs_little_and_new_bytes_come_soon(
    field_: Field, end: str
) -> None:
    two, name = field_.two, f"killed-{end}"
    content = field_.make(name, LARGE)
    two.north.answered("limit", "set", "alpha", "beta@south", "150M")
    empty = field_.arrived()
    moving = field_.moving(name)
    with field_.watched(moving) as copies:
        field_.beyond(empty + MUCH)
        busy = {cloud for cloud, one in field_.gateways.items() if workers_of(one.process.pid)}
        assert busy == {"alpha", "beta"}
        for owner in (two.north, two.south):
            assert owner.server is not None
            assert workers_of(owner.server.pid) == []

        # It is started again as by a service manager.
        killed, at = field_.gateways[end], time.time()
        killed.kill()
        again = field_.gateways[end] = GatewayProcess.started(killed.home, killed.id, killed.within)
        two.north.machine.wait(lambda: workers_of(again.process.pid), LONG_S)
        two.north.answered("limit", "remove", "alpha", "beta@south")
    report = field_.report(moving)
    assert (report["outcome"], report["verified"]) == ("done", "at rest"), report
    assert content in [path.read_bytes() for path in (two.root / "beta/disks").glob("*")]

    [first, second] = copies
    turned_away = again.log.count('"not connected"')  # while its former connection was not known to be over
    dialling_s = sum(BACKOFF_S[0] * 2**time for time in range(1, turned_away + 1))
    took_s, waited_s = second.began - at, _restart_s() + dialling_s + sum(field_.retried(moving))
    LOG.info("new bytes %.1f s after %s's gateway was killed; waited for %.1f s", took_s, end, waited_s)
    LOG.info("sent %.0f MiB and %.0f MiB", first.sent / MIB, second.sent / MIB)
    assert took_s < BUSY_S
    # The rest is work: starting the gateway and two workers, and a few messages.
    assert waited_s <= SOON_S - 1
    assert first.sent + second.sent < LARGE + SENT_AGAIN


@pytest.mark.parametrize(
    ("cut_s", "rate", "soon_s"),
    [(2.0, "100M", BUSY_S), pytest.param(60.0, "6M", SOON_S, marks=pytest.mark.soak)],
    ids=["a moment", "a minute"],
)
def test_the_link_of_the_sites_is_cut_in_the_copy(
    field_: Field, cut_s: float, rate: str, soon_s: float
) -> None:
    two, name = field_.two, f"web-{cut_s:.0f}"
    content = field_.make(name)
    two.north.answered("limit", "set", "alpha", "beta@south", rate)
    empty = field_.arrived()
    moving = field_.moving(name)
    field_.beyond(empty + SIZE // 8)
    # What the sites have to say waits; the bytes do not pass there.
    with field_.cut():
        time.sleep(cut_s)  # so long it is cut
    before = field_.arrived()
    if before < empty + SIZE:
        assert field_.beyond(before) < soon_s
    two.north.answered("limit", "remove", "alpha", "beta@south")
    report = field_.report(moving)
    assert (report["outcome"], report["verified"]) == ("done", "at rest"), report
    assert content in [path.read_bytes() for path in (two.root / "beta/disks").glob("*")]
