"""The watch over runs between two sites: it asks the other site, and ends what a partner does here.

The engine is real and the runs in it only wait; the other site is the real desk over a link in this process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.migration.two_sites import TENANT, SimulatedSite, TwoSites, between, two_sites
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.engine import Engine, EngineSettings
from crossport.migration.grant import Trusted
from crossport.migration.grant_watch import GRACE_S, GrantWatch, WatchMeans
from crossport.migration.partner import calls
from crossport.migration.partner.foreign import foreign_id
from crossport.model import codec
from crossport.model.grant import GrantScope, GrantState, Loss
from crossport.model.record import record
from crossport.model.run import RunState
from crossport.spi.run import RunContext
from crossport.testing.partner import Fate, always

RUN = "run-1"
HERE = foreign_id("a", RUN)
EVERYTHING = GrantScope(tenant="")
LONG_S = 30.0


@record()
class Wish:
    """Nothing."""


@record()
class Told:
    """Nothing either."""


@dataclass
class Scene:
    """A run of a, which waits, has its target at b; both sites are watched."""

    two: TwoSites
    engine: Engine
    a: GrantWatch
    b: GrantWatch

    async def begun(self) -> None:
        """Make the run's first call at b, whose grant it then has."""
        ask = calls.Reserve(tenant=TENANT, cloud="beta", step="reserve")
        content = self.two.a.written("b", ask.OPERATION, codec.encoded(ask), run=RUN, epoch=1)
        await self.two.a.link.call("b", ask.OPERATION, content)

    async def ended(self) -> errors.Error | None:
        run = await self.engine.wait(RUN, LONG_S)
        assert run.state is RunState.CANCELLED
        return await self.engine.failure(RUN)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    two = await two_sites(tmp_path, "a")

    async def wait(run: RunContext, wish: Wish) -> Told:
        async def for_ever() -> Told:
            await asyncio.Event().wait()
            return Told()

        del wish
        return await run.step("wait", for_ever, result=Told, cancellable=True)

    engine = Engine(EngineSettings(state_dir=tmp_path / "control"), two.world.clock)
    engine.register("migrate", wait, request=Wish, report=Told)
    async with engine:
        labels = {"source": "alpha", "target": "beta@b"}
        await engine.submit("migrate", Wish(), run_id=RUN, tenant=TENANT, labels=labels)
        yield Scene(two=two, engine=engine, a=watch(two.a, engine), b=watch(two.b, engine))


class Looks(TestClock):
    """A clock on which nobody wakes from sleep; ``count`` is how often somebody lay down."""

    count = 0

    async def sleep(self, seconds: float) -> None:
        del seconds
        self.count += 1
        await asyncio.Event().wait()


def watch(site: SimulatedSite, engine: Engine, clock: TestClock | None = None) -> GrantWatch:
    async def trusted() -> Trusted:
        return Trusted(partners=await site.link.partners())

    async def interrupt(run: str) -> None:
        site.mover.forgotten.append(f"what is read for {run}")
        await site.peer.interrupt(run)

    return GrantWatch(
        WatchMeans(
            site=site.name,
            grants=site.grants,
            trusted=trusted,
            engine=engine,
            foreign=site.peer.foreign,
            abroad=site.peer.abroad,
            mover=site.mover,
            interrupt=interrupt,
            clock=clock or site.clock,
        )
    )


def lost_on_its_way(from_: str, to: str, operation: str) -> Fate:
    del from_, to, operation
    return Fate(arrives=0)


async def test_a_run_goes_on_while_nobody_says_otherwise(scene: Scene):
    await scene.a.look()
    await scene.begun()
    await scene.a.look()
    scene.two.link.fate = lost_on_its_way
    await scene.a.look()
    scene.two.link.fate = always
    scene.two.b.link.answers.pop("site.grant")  # a partner of the release before
    await scene.a.look()
    assert not (await scene.engine.runs.fetch(RUN)).state.final


async def test_a_run_that_lost_its_right_at_the_partner_is_ended(scene: Scene):
    await scene.begun()
    await scene.two.b.grants.revoke(HERE, EVERYTHING, "token x")
    await scene.a.look()
    error = await scene.ended()
    assert isinstance(error, errors.Cancelled)
    assert (error.code, f"Run {RUN} has no right any more at b" in error.text) == ("grant.lost", True)


def disallowed_there(two: TwoSites) -> None:
    two.b.link.allow("a")


def revoked_here(two: TwoSites) -> None:
    two.a.link.revoke("b")


@pytest.mark.parametrize("end", [disallowed_there, revoked_here])
async def test_a_run_that_nothing_is_known_of_is_ended_when_it_may_not_begin(
    scene: Scene, end: Callable[[TwoSites], None]
):
    end(scene.two)
    await scene.a.look()
    assert isinstance(await scene.ended(), errors.Cancelled)


async def test_what_a_partner_does_here_is_ended_at_each_look_until_it_has_cleaned_up(scene: Scene):
    await scene.begun()
    await scene.b.look()
    assert scene.two.world.mover.forgotten == []
    scene.two.b.link.allow("a")
    await scene.b.look()
    await scene.b.look()
    assert scene.two.world.mover.forgotten == []  # its site is to hear the reason first
    scene.two.world.clock.now += GRACE_S
    await scene.b.look()
    await scene.b.look()
    assert scene.two.world.mover.forgotten == 2 * [f"what is read for {HERE}", HERE]
    (grant,) = await scene.two.b.grants.live()
    assert (grant.state, grant.loss) == (GrantState.LOST, Loss.TENANT)
    assert len(await scene.engine.audit.records(action="grant.lose")) == 1
    await scene.two.a.peer.abroad.site(TENANT, "b").clean(
        scene.two.world.context.act("clean"), "beta", keep_vm=False
    )
    await scene.b.look()
    assert await scene.two.b.grants.live() == ()


async def test_one_run_that_cannot_be_looked_at_hides_no_other(scene: Scene):
    await scene.begun()
    labels = {"source": "alpha", "target": "beta@nobody"}
    await scene.engine.submit("migrate", Wish(), run_id="run-2", tenant=TENANT, labels=labels)
    await scene.two.b.grants.revoke(HERE, EVERYTHING, "token x")
    await scene.a.look()
    assert isinstance(await scene.ended(), errors.Cancelled)
    assert (await scene.engine.wait("run-2", LONG_S)).state is RunState.CANCELLED


async def test_a_grant_whose_run_never_came_is_over_after_a_while(scene: Scene):
    await scene.two.world.migrate(None, **between("a"))
    (grant,) = await scene.two.b.grants.listed(EVERYTHING)
    await scene.two.a.grants.hold(grant)
    await scene.a.look()
    assert len(await scene.two.a.grants.live()) == 1
    scene.two.world.clock.now += 700
    await scene.a.look()
    assert await scene.two.a.grants.live() == ()


async def test_a_right_that_is_taken_wakes_the_watch(scene: Scene):
    await scene.begun()
    site = scene.two.b
    looks = Looks()
    watching = asyncio.create_task(watch(site, scene.engine, looks).watch(15.0))
    try:
        async with asyncio.timeout(LONG_S):
            while not looks.count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await scene.two.b.grants.revoke(HERE, EVERYTHING, "token x")
        async with asyncio.timeout(LONG_S):
            while looks.count < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
