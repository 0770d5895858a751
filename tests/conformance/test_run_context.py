"""The run contexts: in memory, and of the engine on both databases."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic, time

import pytest

from crossport import errors
from crossport.engine import Engine, EngineSettings
from crossport.model.record import record
from crossport.model.run import Event
from crossport.spi.run import RunContext
from crossport.testing.conformance.run_context import Ended, RunContextConformance, RunStage, Tale
from crossport.testing.postgresql import running_postgresql
from crossport.testing.run import DirectRun


class DirectStage:
    """Plays a DirectRun."""

    def __init__(self) -> None:
        self.run = DirectRun()

    async def begin(self, tale: Tale) -> None:
        self.tale = tale
        self.task = asyncio.ensure_future(tale(self.run))

    async def interrupt(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def again(self) -> None:
        self.run = self.run.successor()
        self.task = asyncio.ensure_future(self.tale(self.run))

    async def ended(self) -> Ended:
        try:
            return Ended(text=await self.task)
        except errors.Error as error:
            return Ended(error=error)

    async def cancel(self, why: errors.Cancelled | None = None) -> None:
        self.run.cancel(why)

    async def answer(self, topic: str, answer: str, *, early: bool = False) -> None:
        del early  # nobody is asked here whether the question was
        self.run.answer(topic, answer)

    async def events(self) -> tuple[Event, ...]:
        return self.run.events

    async def progress(self) -> tuple[Event, ...]:
        return self.run.progress


class RealClock:
    def monotonic(self) -> float:
        return monotonic()

    def wall(self) -> float:
        return time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@record()
class Wish:
    """The tale is chosen by the stage."""


@record()
class Told:
    text: str


class EngineStage:
    """Plays a run on an engine; the process "dies" by closing the engine, which keeps nothing back."""

    def __init__(self, state_dir: Path, database_url: str) -> None:
        self.settings = EngineSettings(state_dir=state_dir, database_url=database_url)

    async def open(self) -> None:
        async def play(run: RunContext, _wish: Wish) -> Told:
            return Told(text=await self.tale(run))

        self.engine = Engine(self.settings, RealClock())
        self.engine.register("tale", play, request=Wish, report=Told)
        await self.engine.open()

    async def begin(self, tale: Tale) -> None:
        self.tale = tale
        self.id = (await self.engine.submit("tale", Wish())).id

    async def interrupt(self) -> None:
        await self.engine.close()

    async def again(self) -> None:
        await self.open()

    async def ended(self) -> Ended:
        run = await self.engine.wait(self.id, 30.0)
        assert run.state.final, run
        report = await self.engine.report(self.id)
        return Ended(text=report.text if report else "", error=await self.engine.failure(self.id))

    async def cancel(self, why: errors.Cancelled | None = None) -> None:
        await self.engine.cancel(self.id, why)

    async def answer(self, topic: str, answer: str, *, early: bool = False) -> None:
        await self.engine.decide(self.id, topic, answer, early=early)

    async def events(self) -> tuple[Event, ...]:
        return await self.engine.runs.events(self.id)

    async def progress(self) -> tuple[Event, ...]:
        return await self.engine.runs.progress(self.id)


class TestDirectRun(RunContextConformance):
    @pytest.fixture
    def stage(self) -> RunStage:
        return DirectStage()


class TestExecutionOnSqlite(RunContextConformance):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[RunStage]:
        stage = EngineStage(tmp_path, "")
        await stage.open()
        yield stage
        await stage.engine.close()


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with running_postgresql() as server:
        yield server.database()


@pytest.mark.postgresql
class TestExecutionOnPostgresql(RunContextConformance):
    @pytest.fixture
    async def stage(self, tmp_path: Path, database_url: str) -> AsyncIterator[RunStage]:
        stage = EngineStage(tmp_path, database_url)
        await stage.open()
        yield stage
        await stage.engine.close()
