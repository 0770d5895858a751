"""One engine process to be killed: it walks runs of eight steps and writes every effect into a file.

Its first input line says where and how (JSON); every further line is the id and request of a run. It tells
in JSON lines when it is open and how runs ended.
"""

import asyncio
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.engine import Engine, EngineSettings
from crossport.model import codec
from crossport.model.record import record
from crossport.model.run import Event, EventKind, Phase
from crossport.spi.run import RunContext

STEP_COUNT = 8
FAILING = 3
"""This step fails for good, and the walk goes on without it."""
HALTS = ("before-call", "after-call", "after-record")


@record()
class Walk:
    """A walk stops for ever at ``halt`` of step ``at`` in its first execution. A step takes ``pace_s``."""

    at: int = 0
    halt: str = ""
    pace_s: float = 0.0


@record()
class Arrived:
    """What a walk met."""

    total: int
    refused: str


class Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class World:
    """The world outside: a file of effects, and a cloud that refuses an epoch lower than it has seen."""

    def __init__(self, path: Path, node: str) -> None:
        self.path = path
        self.node = node

    def write(self, run: RunContext, *words: str) -> None:
        line = " ".join((run.run, str(run.epoch), self.node, *words))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def act(self, run: RunContext, step: str) -> None:
        epochs = self.path.with_suffix(".epochs")
        with epochs.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            seen: dict[str, int] = json.loads(file.read() or "{}")
            if run.epoch < seen.get(run.run, 0):
                raise errors.Refused("cloud.epoch.old", "Another execution acts for this run.")
            file.truncate(0)
            file.write(json.dumps(seen | {run.run: run.epoch}))
            file.flush()
            self.write(run, step, "effect")


def walk_in(world: World) -> Any:
    async def walk(run: RunContext, request: Walk) -> Arrived:
        async def halted(step: int, halt: str) -> None:
            if run.epoch == 1 and (request.at, request.halt) == (step, halt):
                world.write(run, f"s{step}", "halted")
                await asyncio.Event().wait()

        async def call(step: int) -> int:
            await halted(step, "before-call")
            world.write(run, f"s{step}", "begins")
            await asyncio.sleep(request.pace_s)
            world.act(run, f"s{step}")
            await halted(step, "after-call")
            if step == FAILING:
                raise errors.Conflict("walk.blocked", "There is a wall.", remedy="Go around.")
            return step

        total, refused = 0, ""
        for step in range(1, STEP_COUNT + 1):
            phase = Phase(name=f"phase-{step}", started=time.time(), seconds=0.0)
            await run.emit(Event(kind=EventKind.PHASE_STARTED, phase=phase))
            try:
                total += await run.step(f"s{step}", lambda step=step: call(step), result=int)
            except errors.Conflict as error:
                refused = f"{error.code} {error.remedy}"
            await halted(step, "after-record")
            await run.emit(Event(kind=EventKind.PHASE_FINISHED, phase=phase))
        return Arrived(total=total, refused=refused)

    return walk


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def follow(engine: Engine, run: str) -> None:
    ended = await engine.wait(run, 3600.0)
    report = codec.plain(await engine.report(run))
    story = [" ".join(str(part) for part in event.gist) for event in await engine.runs.events(run)]
    numbers = [event.number for event in await engine.runs.events(run)]
    say(ended=run, state=ended.state.value, epoch=ended.epoch, report=report, story=story, numbers=numbers)


async def main() -> None:
    config = json.loads(sys.stdin.readline())
    world = World(Path(config["effects"]), config["node"])
    settings = EngineSettings(
        state_dir=Path(config["state_dir"]),
        node=config["node"],
        database_url=config["database_url"],
        lease_s=config["lease_s"],
    )
    engine = Engine(settings, Clock())
    engine.register("walk", walk_in(world), request=Walk, report=Arrived)
    loop = asyncio.get_running_loop()
    async with engine, asyncio.TaskGroup() as group:
        say(opened=config["node"])
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            wish = json.loads(line)
            if "walk" in wish:
                await engine.submit("walk", codec.from_plain(wish["walk"], Walk), run_id=wish["run"])
            group.create_task(follow(engine, wish["run"]))


if __name__ == "__main__":
    asyncio.run(main())
