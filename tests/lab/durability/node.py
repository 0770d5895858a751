"""One site in a process that is to be killed: real engine, simulated clouds in directories, a log of calls.

Its first input line says where (JSON); every further line names a VM to migrate, the same one twice is one
run. Execution number n of a run stands still at the n-th boundary that ``halts`` names for its VM, until the
file ``released`` exists. It tells in JSON lines when it is open and how runs ended.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from crossport.clouds.memory import connect
from crossport.engine import Engine, EngineSettings
from crossport.gateway.claims import ClaimingMover
from crossport.migration.control import MeansOfControl, SiteControl
from crossport.migration.hook import OperatorHooks
from crossport.migration.plans import MIGRATE
from crossport.migration.registry import CloudRegistry
from crossport.model import codec
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.mapping import MappingRules
from crossport.model.request import CloudEntry
from crossport.model.run import MigrationReport, MigrationRequest, Mode
from crossport.model.vm import VM, PowerState
from crossport.spi.secret import Secret, Secrets
from crossport.testing.file_disk import FileDisks
from crossport.testing.mover import MemoryMover
from crossport.testing.sealer import MemorySealer

TENANT = "default"
IN_CALL_S = 0.1
CHECKS = HealthChecks(
    probes=(Probe(kind=ProbeKind.HTTP, port=80),), successes=1, interval_s=0.1, timeout_s=0.3
)


class Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class NoSecrets:
    async def put(self, reference: str, secret: Secret) -> None:
        raise AssertionError(reference, secret)

    async def fetch(self, reference: str) -> Secret:
        raise AssertionError(reference)

    async def forget(self, reference: str) -> None:
        raise AssertionError(reference)


class Notes(Protocol):
    """What a watched context needs to know, and where it writes."""

    halts: dict[str, list[list[str]]]
    released: Path

    def write(self, vm: str, epoch: int, step: str, word: str) -> None: ...

    def look(self, vm: str, run: str) -> None: ...


class Watched:
    """A run's context that writes down every call, and stands still where it is told to."""

    def __init__(self, context: Any, vm: str, node: Notes) -> None:
        self._context = context
        self._vm = vm
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def step(self, name: str, call: Callable[[], Awaitable[Any]], **options: Any) -> Any:
        async def watched() -> Any:
            await self._halted(name, "before-call")
            self._node.write(self._vm, self._context.epoch, name, "called")
            if self._wanted(name, "in-call"):
                asyncio.get_running_loop().call_later(IN_CALL_S, self._told, name)
            answer = await call()
            self._node.look(self._vm, self._context.run)
            await self._halted(name, "after-call")
            return answer

        answer = await self._context.step(name, watched, **options)
        await self._halted(name, "after-record")
        return answer

    def _wanted(self, step: str, point: str) -> bool:
        epoch = self._context.epoch
        return self._node.halts.get(self._vm, [])[epoch - 1 : epoch] == [[step, point]]

    def _told(self, step: str) -> None:
        self._node.write(self._vm, self._context.epoch, step, "halted")

    async def _halted(self, step: str, point: str) -> None:
        if self._wanted(step, point):
            self._told(step)
            while not self._node.released.exists():  # noqa: ASYNC110 -- another process says so
                await asyncio.sleep(0.1)


class Node:
    """The site, and what is written down of it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name = config["node"]
        self.halts: dict[str, list[list[str]]] = config["halts"]
        self.released = Path(config["home"]) / "released"
        self._log = Path(config["home"]) / "calls"
        self._clouds = {name: Path(config["home"]) / name for name in ("alpha", "beta")}
        self.engine = Engine(
            EngineSettings(
                state_dir=Path(config["home"]) / self.name,
                node=self.name,
                database_url=config["database_url"],
                lease_s=config["lease_s"],
                at_once=200,
            ),
            Clock(),
        )
        self.control = self._made_control()

    def _made_control(self) -> SiteControl:
        engine, clock = self.engine, Clock()
        drivers = {"memory": connect}
        registry = CloudRegistry(drivers, engine, cast("Secrets", NoSecrets()))
        sealer = MemorySealer("here")
        copier = MemoryMover(cast("Any", FileDisks()), clock)
        means = MeansOfControl(
            site="here",
            engine=engine,
            registry=registry,
            mover=ClaimingMover(copier, sealer),
            sealer=sealer,
            hooks=OperatorHooks({}, {}, post=cast("Any", None), clock=clock),
            clock=clock,
            token=lambda: os.urandom(8).hex(),
        )
        control = SiteControl(means)

        async def migrated(context: Any, request: MigrationRequest) -> MigrationReport:
            return await control.run_migration(cast("Any", Watched(context, request.vm, self)), request)

        # All boundaries at once: without the limits that the product sets.
        engine.register(MIGRATE, migrated, request=MigrationRequest, report=MigrationReport)
        return control

    def write(self, vm: str, epoch: int, step: str, word: str) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{vm} {epoch} {self.name} {step} {word}\n".encode())
        os.close(descriptor)

    def look(self, vm: str, run: str) -> None:
        """Write it down when the VM runs at both ends."""
        ids = {"alpha": f"{vm}-create-vm", "beta": f"{run}-vm"}
        files = [root / "vms" / f"{ids[name]}.json" for name, root in self._clouds.items()]
        found = [codec.decoded(file.read_text(), VM) for file in files if file.exists()]
        found = [one for one in found if one.power is PowerState.RUNNING]
        if len(found) > 1:
            self.write(vm, 0, "-", "both-running")

    async def add_clouds(self) -> None:
        known = [entry.name for entry in await self.control.clouds(TENANT)]
        for name, root in self._clouds.items():
            if name not in known:
                entry = CloudEntry(name=name, driver="memory", settings={"path": str(root)})
                await self.control.add_cloud(TENANT, entry)

    async def migrate(self, vm: str) -> None:
        request = MigrationRequest(
            vm=vm,
            source="alpha",
            target="beta",
            rules=MappingRules(networks={"app": "frontend"}),
            checks=CHECKS,
            mode=Mode.WARM if vm.startswith("warm-") else Mode.COLD,
        )
        run = await self.control.migrate(TENANT, request, key=vm)
        ended = await self.engine.wait(run.id, 3600.0)
        report = await self.control.report(TENANT, run.id)
        say(
            ended=vm,
            run=run.id,
            state=ended.state.value,
            epoch=ended.epoch,
            text=ended.attention,
            report=codec.plain(report),
            ledger=[codec.plain(one) for one in await self.control.ledger(TENANT, run.id)],
        )


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def main() -> None:
    node = Node(json.loads(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    async with node.engine, asyncio.TaskGroup() as group:
        await node.add_clouds()
        say(opened=node.name)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            group.create_task(node.migrate(json.loads(line)["migrate"]))


if __name__ == "__main__":
    asyncio.run(main())
