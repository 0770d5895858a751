"""Two gateways as processes in the seats of two embedded clouds move a real guest, and one of them is killed.

The site, the gateways and the commands are the program itself; nothing is replaced.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.local import clouds
from tests.lab.serve.test_life import Machine
from tests.lab.transfer.transfer_lab import workers_of

from crossport.clouds.local import destroy
from crossport.clouds.local.network.seat import DEVICE
from crossport.model.artifact import Way
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import PowerState

pytestmark = [pytest.mark.qemu, pytest.mark.root, pytest.mark.timeout(900)]

WAN_RATE_BPS = 24_000_000
"""So slow that the copy of what `FILL` writes takes several seconds."""
FILL = "dd if=/dev/urandom of=/data/noise bs=1M count=6 && echo carried > /data/proof && sync"
LONG_S = 180.0
SEATS = (("alpha", Way.READ, "VMExportSubnet"), ("beta", Way.WRITE, "VMImportSubnet"))


@dataclass
class Gateway:
    """A gateway's process, in the network namespace of its seat; what it says is in its log."""

    home: Path
    namespace: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, home: Path, namespace: str, *words: str) -> "Gateway":
        home.mkdir(mode=0o700, exist_ok=True)
        argv = ["nsenter", f"--net=/run/netns/{namespace}", "--", sys.executable, "-m", "crossport.app"]
        environment = {"CROSSPORT_HOME": str(home), "HOME": str(home), "PATH": os.environ["PATH"]}
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(
                [*argv, "gateway", "run", *words], env=environment, stdout=log, stderr=log
            )
        return cls(home, namespace, process)

    def again(self) -> "Gateway":
        """Kill it, and start it as a service manager would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        return Gateway.start(self.home, self.namespace)


@dataclass
class Field:
    """Two clouds with a guest in the first, a site, and a gateway at each end."""

    home: Path
    machine: Machine
    gateways: dict[str, Gateway] = field(default_factory=dict[str, Gateway])

    def answered(self, *words: str) -> Any:
        status, out, told = self.machine.run(*words, "--json")
        assert status == 0, told
        return json.loads(out)

    async def prepare(self) -> None:
        image = clouds.guest_image(self.home)
        for name in ("alpha", "beta"):
            await clouds.prepared(self.home / name, image, wan_rate_bps=WAN_RATE_BPS)
            self.answered("cloud", "add", name, "local", "--set", f"path={self.home / name}")
        alpha = await clouds.connected(self.home / "alpha")
        vm = await alpha.create_vm(clouds.act("create"), clouds.described("web"), clouds.IMAGE)
        await clouds.answering(alpha, vm.id)
        filled = await alpha.probe(vm.id, Probe(kind=ProbeKind.COMMAND, command=FILL))
        assert filled.good, filled.text
        await alpha.close()

    async def join(self, name: str, way: Way, subnet: str) -> None:
        """Enroll a gateway for a seat, and run it there."""
        cloud = await clouds.connected(self.home / name)
        seat = await cloud.place(way)
        await cloud.close()
        file = self.home / f"{name}.join"
        told = self.answered("gateway", "enroll", name, subnet, "--file", str(file))
        authority = told["command"].split()[-1]
        words = ("--join", str(file), "--authority", authority)
        self.gateways[name] = Gateway.start(self.home / f"gateway-{name}", seat.namespace, *words)

    def shown(self) -> dict[str, dict[str, Any]]:
        return {one["cloud"]: one for one in self.answered("gateway", "list")}

    def until(self, what: Any) -> None:
        self.machine.wait(what, LONG_S)

    def end(self) -> None:
        for gateway in self.gateways.values():
            gateway.process.kill()
            gateway.process.wait(10)
        self.machine.end()
        for name in ("alpha", "beta"):
            asyncio.run(destroy(self.home / name))


@pytest.fixture
def field_(tmp_path: Path) -> Iterator[Field]:
    one = Field(tmp_path, Machine(tmp_path / "home"))
    try:
        asyncio.run(one.prepare())
        for seat in SEATS:
            asyncio.run(one.join(*seat))
        yield one
    finally:
        one.end()


async def end_of(field: Field) -> tuple[bool, bool]:
    """Say whether the guest runs at alpha and at beta; at beta it has what was written at alpha."""
    alpha, beta = [await clouds.connected(field.home / name) for name in ("alpha", "beta")]
    [source], [target] = await alpha.vms(), await beta.vms()
    carried = await beta.probe(
        target.id, Probe(kind=ProbeKind.COMMAND, command="cat /data/proof", expect="carried")
    )
    assert carried.good, carried.text
    for cloud in (alpha, beta):
        await cloud.close()
    return source.power is PowerState.RUNNING, target.power is PowerState.RUNNING


def workers_at(gateway: Gateway) -> list[str]:
    """Return the network namespaces of the workers that a gateway runs."""
    return [str(Path(f"/proc/{one.pid}/ns/net").readlink()) for one in workers_of(gateway.process.pid)]


def sent_from(gateway: Gateway) -> int:
    """Return how many bytes have left the seat of a gateway."""
    for line in Path(f"/proc/{gateway.process.pid}/net/dev").read_text().splitlines():
        if line.split(":")[0].strip() == DEVICE:
            return int(line.split(":")[1].split()[8])
    raise AssertionError(f"no {DEVICE} in {gateway.namespace}")


def test_a_guest_moves_from_gateway_to_gateway_though_one_is_killed_in_the_copy(field_: Field) -> None:
    field_.until(lambda: [one["connected"] for one in field_.shown().values()] == [True, True])
    words = "migrate web --from alpha --to beta --check http:80:/cgi-bin/state --power-off --detach"
    run = field_.answered(*words.split())["id"]
    export = field_.gateways["alpha"]
    before = sent_from(export)
    field_.until(lambda: sent_from(export) - before > 2 << 20)
    seat = Path("/run/netns", export.namespace).stat().st_ino
    assert workers_at(export) == [f"net:[{seat}]"]
    assert workers_of(field_.machine.owner()) == []

    killed = time.monotonic()
    field_.gateways["alpha"] = export.again()
    field_.until(lambda: field_.shown()["alpha"]["connected"])
    assert time.monotonic() - killed < 30

    field_.until(lambda: field_.answered("run", "list")[0]["state"] not in ("queued", "running"))
    report = field_.answered("run", "report", run)
    assert (report["outcome"], report["verified"]) == ("done", "at rest")
    assert asyncio.run(end_of(field_)) == (False, True)
    assert _secrets_of(field_) == []


def _secrets_of(field: Field) -> list[str]:
    """Return the logs in which something private stands."""
    logs = [
        *(gateway.home / "log" for gateway in field.gateways.values()),
        field.machine.control / "serve.log",
    ]
    return [str(log) for log in logs if "PRIVATE" in log.read_text() or "xp_" in log.read_text()]
