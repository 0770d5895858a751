"""An engine on SQLite for each test, and a kind of run whose workflow the test gives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic, time

import pytest

from crossport.engine import Engine, EngineSettings, Limits
from crossport.model.record import record
from crossport.spi.run import Retry, RunContext


class RealClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return monotonic()

    def wall(self) -> float:
        return time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@record()
class Wish:
    """A request: what to say, and in which partition."""

    text: str = ""
    partition: str = ""


@record()
class Told:
    """A report."""

    text: str


Play = Callable[[RunContext, Wish], Awaitable[Told]]


class Theatre:
    """Opens engines on one state directory. ``play`` is the workflow; a test sets it."""

    def __init__(self, state_dir: Path) -> None:
        self.settings = EngineSettings(state_dir=state_dir, lease_s=0.3)
        self.play: Play = self.echo
        self.opened: list[Engine] = []
        self.retry = Retry(attempts=100, pause_s=0.01)

    async def echo(self, run: RunContext, wish: Wish) -> Told:
        async def say() -> str:
            return wish.text

        return Told(text=await run.step("say", say, result=str))

    def engine(self, limits: Limits | None = None) -> Engine:
        async def play(run: RunContext, wish: Wish) -> Told:
            return await self.play(run, wish)

        engine = Engine(self.settings, RealClock())
        engine.register(
            "tale",
            play,
            request=Wish,
            report=Told,
            limits=limits or Limits(),
            partition=lambda wish: wish.partition,
        )
        self.opened.append(engine)
        return engine


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Theatre]:
    theatre = Theatre(tmp_path / "control")
    yield theatre
    for engine in theatre.opened:
        await engine.close()


@pytest.fixture
async def engine(theatre: Theatre) -> Engine:
    return await theatre.engine().open()
