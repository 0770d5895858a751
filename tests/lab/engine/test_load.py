"""Many runs at once, and none at all: memory stays flat, and an idle engine costs next to nothing."""

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic, time

import pytest

from crossport.engine import Engine, EngineSettings, Limits
from crossport.model.record import record
from crossport.model.run import RunState
from crossport.spi.run import RunContext

RUN_COUNT = 200
STEP_COUNT = 5


@record()
class Wish:
    """Nothing to wish for."""


@record()
class Told:
    total: int


class Clock:
    def monotonic(self) -> float:
        return monotonic()

    def wall(self) -> float:
        return time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def walk(run: RunContext, _wish: Wish) -> Told:
    async def one() -> int:
        await asyncio.sleep(0.01)
        return 1

    return Told(total=sum([await run.step(f"s{n}", one, result=int) for n in range(STEP_COUNT)]))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(EngineSettings(state_dir=tmp_path), Clock())
    limits = Limits(at_once=16, per_partition=4)
    engine.register(
        "walk", walk, request=Wish, report=Told, limits=limits, partition=lambda _wish: str(id(_wish) % 5)
    )
    async with engine:
        yield engine


async def walked(engine: Engine, count: int) -> None:
    runs = [await engine.submit("walk", Wish()) for _ in range(count)]
    for run in runs:
        assert (await engine.wait(run.id, 100.0)).state is RunState.DONE


def pss_size() -> int:
    """Return our proportional share of memory, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def test_two_hundred_runs_at_once_all_end_and_memory_stays_flat(engine: Engine) -> None:
    await walked(engine, 40)  # threads, pools and caches are there
    before = pss_size()
    await walked(engine, RUN_COUNT)
    assert pss_size() < 1.2 * before


async def test_a_submitted_run_starts_soon(engine: Engine) -> None:
    delays: list[float] = []
    for _ in range(5):
        run = await engine.wait((await engine.submit("walk", Wish())).id, 60.0)
        delays.append(run.started - run.created)
    assert sorted(delays)[2] < 0.3, delays


async def test_an_idle_engine_costs_next_to_nothing(engine: Engine) -> None:
    await walked(engine, 1)
    await asyncio.sleep(0.5)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), monotonic()
    await asyncio.sleep(6.0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Under 1 % on a quiet machine; twice that leaves room for neighbours that spoil the caches.
    assert used / (monotonic() - begun) < 0.02
