"""Fetches as runs of the real engine: gone on with after a crash and a break, cancelled, watched."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.unit.migration.test_control import EngineClock, KeptSecrets
from tests.unit.migration.test_fetch import CONTENT, Web, wanted

from crossport import errors
from crossport.clouds.memory import MemoryCloud, connect
from crossport.engine import Engine, EngineSettings
from crossport.migration.fetch import FetchMeans, WebImages
from crossport.migration.fetches import AGAIN, FETCH, Fetches, FetchOrder, FetchParts
from crossport.migration.registry import CloudRegistry
from crossport.model.request import CloudEntry
from crossport.model.run import EventKind, RunRecord, RunState
from crossport.spi.secret import Secret
from crossport.testing.run import DirectRun, Killed, KillPoint
from crossport.testing.world import ALPHA

WANTED = wanted("debian")


class Pausing(EngineClock):
    """Pauses between attempts last until they are ended, and ``began`` says that one lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.ended.set()

    async def sleep(self, seconds: float) -> None:
        if seconds == AGAIN.pause_s:
            self.began.set()
            await self.ended.wait()
        await super().sleep(seconds)


class Place:
    """A site with the cloud lab, a web server, and what fetches."""

    def __init__(self, root: Path) -> None:
        self.web, self.secrets, numbers = Web(), KeptSecrets(), count()
        clock = self.clock = Pausing()
        self.lab = MemoryCloud("lab", root / "lab")
        self.lab.found(ALPHA)
        self.folder = root / "fetched"
        self.engine = Engine(EngineSettings(state_dir=root / "control"), clock)
        self.registry = CloudRegistry({"memory": connect}, self.engine, self.secrets)

        def token() -> str:
            return f"token-{next(numbers)}"

        means = FetchMeans(folder=self.folder, look=self.web, mover=self.web, clock=clock, token=token)
        self.fetches = Fetches(
            FetchParts(
                engine=self.engine,
                web=WebImages(means, 1 << 40),
                registry=self.registry,
                secrets=self.secrets,
                clock=clock,
                token=token,
            )
        )

    async def ended(self, run: str) -> RunState:
        async with asyncio.timeout(60.0):
            while not (found := await self.engine.wait(run, 20.0)).state.final:
                pass
        return found.state

    async def sizes(self) -> list[int]:
        return [image.size for image in await self.lab.images()]

    def left(self) -> list[Path]:
        return list(self.folder.glob("*"))


@asynccontextmanager
async def opened(root: Path) -> AsyncGenerator[Place]:
    place = Place(root)
    async with place.engine:
        entry = CloudEntry(name="lab", driver="memory", settings={"path": str(root / "lab")})
        await place.registry.add("acme", entry)
        yield place
        await place.registry.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with opened(tmp_path) as one:
        yield one


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("step", ["fetch", "tidy"])
async def test_a_run_that_dies_anywhere_brings_one_image_and_leaves_nothing(
    place: Place, step: str, point: KillPoint
):
    place.secrets.kept["fetch/1"] = Secret(WANTED.url)
    order = FetchOrder(
        tenant="acme", cloud="lab", name="debian", format="raw", url="fetch/1", copy=WANTED.run
    )
    run = DirectRun("1")
    run.kill(step, point)
    with pytest.raises(Killed):
        await place.fetches.run(run, order)
    report = await place.fetches.run(run.successor(), order)
    assert report.image
    assert (report.image.name, await place.sizes(), place.web.copies) == ("debian", [len(CONTENT)], 1)
    assert (place.left(), place.secrets.kept) == ([], {})


async def broken_off(place: Place) -> str:
    """Return a run that needs attention, because the web server is away."""
    place.web.away = True
    run = (await place.fetches.start(WANTED, "")).id
    assert await place.ended(run) is RunState.ATTENTION
    return run


async def test_a_run_that_is_resumed_goes_on_when_the_server_is_back(place: Place):
    run = await broken_off(place)
    place.web.away = False
    await place.engine.resume(run)
    assert await place.ended(run) is RunState.DONE
    assert (await place.sizes(), place.left(), place.secrets.kept) == ([len(CONTENT)], [], {})
    told = [event async for event in place.engine.runs.follow(run)]
    assert [event.text for event in told if event.kind is EventKind.PHASE_FINISHED] == ["image_download"]


async def test_a_run_that_needs_attention_can_be_given_up(place: Place):
    run = await broken_off(place)
    for _ in range(2):
        assert (await place.engine.cancel(run)).state is RunState.CANCELLED
    assert place.secrets.kept == {}
    assert len(place.left()) == 1  # for whoever fetches it again
    with pytest.raises(errors.Conflict, match=r"run\.not_resumable"):
        await place.engine.resume(run)


async def test_who_asks_again_after_a_break_gets_a_run_that_goes_on(place: Place):
    first = await broken_off(place)
    place.web.away = False
    second = await place.fetches.start(WANTED, "")
    assert second.id != first
    assert await place.ended(second.id) is RunState.DONE
    assert (second.kind, await place.sizes()) == (FETCH, [len(CONTENT)])
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await place.fetches.start(replace(WANTED, url="https://images.test/other"), "")


async def test_what_arrived_for_a_run_that_waits_to_try_again_survives_another_fetch(place: Place):
    place.web.away = True
    place.clock.ended.clear()
    waiting = await place.fetches.start(WANTED, "")
    await place.clock.began.wait()
    [part] = place.left()
    assert WANTED.run in part.name
    os.utime(part, (0, 0))
    await place.fetches.prune()
    assert place.left() == [part]
    place.clock.ended.set()
    assert await place.ended(waiting.id) is RunState.ATTENTION
    os.utime(part, (0, 0))
    await place.fetches.prune()
    assert place.left() == []


async def test_nothing_keeps_the_url_of_a_run_that_was_never_made(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    async def full(*_: object, **__: object) -> RunRecord:
        raise errors.Unavailable("database.full", "There is no room.")

    monkeypatch.setattr(place.engine, "submit", full)
    with pytest.raises(errors.Unavailable, match=r"database\.full"):
        await place.fetches.start(WANTED, "")
    assert place.secrets.kept == {}
