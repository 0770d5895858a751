"""Runs from outside: submitting, listing, following, cancelling, deciding, resuming, and how they end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.engine.conftest import Theatre, Told, Wish

from crossport import errors
from crossport.engine import Engine, Limits, RunFilter
from crossport.model.run import Event, EventKind, RunState
from crossport.spi.run import RunContext

SOON_S = 20.0


async def ended_state(engine: Engine, run: str) -> RunState:
    return (await engine.wait(run, SOON_S)).state


async def test_a_run_tells_what_it_did(engine: Engine) -> None:
    run = await engine.submit("tale", Wish(text="hello"), tenant="t", subject="web", labels={"a": "b"})
    assert (run.state, run.tenant, run.subject, run.labels) == (RunState.QUEUED, "t", "web", {"a": "b"})
    ended = await engine.wait(run.id, SOON_S)
    assert (ended.state, ended.epoch, ended.node) == (RunState.DONE, 1, "node")
    assert ended.created <= ended.started <= ended.ended
    assert await engine.report(run.id) == Told(text="hello")
    assert await engine.failure(run.id) is None
    assert await engine.runs.request(run.id, Wish) == Wish(text="hello")


async def test_the_same_id_with_the_same_request_is_the_same_run(engine: Engine) -> None:
    first = await engine.submit("tale", Wish(text="one"), run_id="mine")
    await engine.wait("mine", SOON_S)
    again = await engine.submit("tale", Wish(text="one"), run_id="mine")
    assert (again.id, again.created) == (first.id, first.created)
    with pytest.raises(errors.Conflict) as caught:
        await engine.submit("tale", Wish(text="two"), run_id="mine")
    assert caught.value.code == "run.id.taken"


async def test_runs_are_listed_by_page_the_newest_first(engine: Engine) -> None:
    ids = [(await engine.submit("tale", Wish(), tenant="ab"[n % 2])).id for n in range(5)]
    page = await engine.runs.list(limit=2)
    seen = [run.id for run in page.runs]
    while page.cursor:
        page = await engine.runs.list(limit=2, cursor=page.cursor)
        seen += [run.id for run in page.runs]
    assert seen == ids[::-1]
    of_b = await engine.runs.list(RunFilter(tenant="b", kind="tale"))
    assert [run.id for run in of_b.runs] == [ids[3], ids[1]]
    with pytest.raises(errors.NotFound):
        await engine.runs.list(cursor="x")


async def test_a_follower_hears_everything_once_and_then_the_end(theatre: Theatre) -> None:
    async def play(run: RunContext, _wish: Wish) -> Told:
        for number in range(20):
            await run.emit(Event(kind=EventKind.LOG, text=str(number)))
            await asyncio.sleep(0.002)
        return Told(text="")

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    async with asyncio.timeout(SOON_S):
        heard = [event async for event in engine.runs.follow(run.id)]
    assert [event.number for event in heard] == list(range(1, 24))
    assert heard[-1].state is RunState.DONE
    assert [event.number async for event in engine.runs.follow(run.id, after=20)] == [21, 22, 23]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (errors.Cancelled("x.y", "stop"), RunState.CANCELLED),
        (errors.RolledBack("x.y", "back"), RunState.ROLLED_BACK),
        (errors.Blocked("x.y", "no"), RunState.BLOCKED),
        (errors.NeedsAttention("x.y", "look"), RunState.ATTENTION),
        (errors.Unavailable("x.y", "gone"), RunState.ATTENTION),
    ],
    ids=lambda value: getattr(value, "value", type(value).__name__),
)
async def test_an_error_decides_the_state(theatre: Theatre, error: errors.Error, state: RunState) -> None:
    async def play(_run: RunContext, _wish: Wish) -> Told:
        raise error

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    assert await ended_state(engine, run.id) is state
    failure = await engine.failure(run.id)
    assert (type(failure), failure and failure.text) == (type(error), error.text)
    assert await engine.report(run.id) is None


async def test_an_unexpected_exception_needs_attention_and_is_shown(theatre: Theatre) -> None:
    async def play(_run: RunContext, _wish: Wish) -> Told:
        raise ZeroDivisionError("by nothing")

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    assert await ended_state(engine, run.id) is RunState.ATTENTION
    assert "ZeroDivisionError: by nothing" in (await engine.runs.fetch(run.id)).attention


def failing_once(told: list[str]) -> Callable[[RunContext, Wish], Awaitable[Told]]:
    """Return a workflow whose second step fails the first time."""

    async def play(run: RunContext, _wish: Wish) -> Told:
        async def note(step: str) -> str:
            told.append(step)
            if step == "second" and told.count("second") == 1:
                raise errors.Broken("x.broken", "It broke.")
            return step

        first = await run.step("first", lambda: note("first"), result=str)
        return Told(text=first + await run.step("second", lambda: note("second"), result=str))

    return play


async def test_a_run_that_needs_attention_goes_on_at_the_step_that_failed(theatre: Theatre) -> None:
    told: list[str] = []
    theatre.play = failing_once(told)
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    assert await ended_state(engine, run.id) is RunState.ATTENTION
    assert (await engine.resume(run.id)).state is RunState.RUNNING
    ended = await engine.wait(run.id, SOON_S)
    assert (ended.state, ended.epoch, ended.attention) == (RunState.DONE, 2, "")
    assert await engine.report(run.id) == Told(text="firstsecond")
    assert told == ["first", "second", "second"]
    with pytest.raises(errors.Conflict) as caught:
        await engine.resume(run.id)
    assert caught.value.code == "run.not_resumable"


async def test_a_run_that_needs_attention_ends_as_a_person_decided(theatre: Theatre) -> None:
    theatre.play = failing_once([])
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    assert await ended_state(engine, run.id) is RunState.ATTENTION
    for _ in range(2):
        decided = await engine.conclude(run.id, Told(text="enough"), RunState.ROLLED_BACK, "Resolved.")
        assert (decided.state, decided.attention) == (RunState.ROLLED_BACK, "")
    assert await engine.report(run.id) == Told(text="enough")
    assert [event.text for event in await engine.runs.events(run.id)].count("Resolved.") == 1
    with pytest.raises(errors.Conflict) as caught:
        await engine.conclude(run.id, Told(text="more"), RunState.DONE, "Again.")
    assert caught.value.code == "run.not_resumable"


async def test_a_resumed_run_asks_again_what_nobody_answered(theatre: Theatre) -> None:
    async def play(run: RunContext, _wish: Wish) -> Told:
        answer = await run.decision("commit", 0.05 if run.epoch == 1 else SOON_S)
        if answer is None:
            raise errors.NeedsAttention("x.silent", "Nobody answered.")
        return Told(text=answer)

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    assert await ended_state(engine, run.id) is RunState.ATTENTION
    told = len(await engine.runs.events(run.id))
    await engine.resume(run.id)
    await state_reached(engine, run.id, RunState.WAITING, told)
    await engine.decide(run.id, "commit", "yes")
    await engine.decide(run.id, "commit", "yes")
    with pytest.raises(errors.Conflict):
        await engine.decide(run.id, "commit", "no")
    assert await ended_state(engine, run.id) is RunState.DONE
    assert await engine.report(run.id) == Told(text="yes")


async def test_a_run_whose_decision_was_given_waits_for_nobody(theatre: Theatre) -> None:
    async def play(run: RunContext, _wish: Wish) -> Told:
        return Told(text=await run.decision("commit", SOON_S) or "")

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    await state_reached(engine, run.id, RunState.WAITING, 0)
    await engine.decide(run.id, "commit", "yes")
    assert (await engine.runs.fetch(run.id)).state is not RunState.WAITING
    assert await ended_state(engine, run.id) is RunState.DONE
    told = [event.state for event in await engine.runs.events(run.id) if event.state]
    assert told == [RunState.QUEUED, RunState.RUNNING, RunState.WAITING, RunState.RUNNING, RunState.DONE]


async def test_a_run_that_ended_while_it_waited_takes_no_decision(theatre: Theatre) -> None:
    async def play(run: RunContext, _wish: Wish) -> Told:
        return Told(text=await run.decision("commit", SOON_S) or "")

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    await state_reached(engine, run.id, RunState.WAITING, 0)
    await engine.cancel(run.id)
    assert await ended_state(engine, run.id) is RunState.CANCELLED
    with pytest.raises(errors.Conflict) as caught:
        await engine.decide(run.id, "commit", "yes")
    assert caught.value.code == "decision.not_asked"
    assert await ended_state(engine, run.id) is RunState.CANCELLED


async def state_reached(engine: Engine, run: str, state: RunState, after: int) -> None:
    async with asyncio.timeout(SOON_S):
        async for event in engine.runs.follow(run, after=after):
            if event.state is state:
                return


async def test_only_so_many_runs_of_a_partition_and_of_a_kind_go_on_at_once(theatre: Theatre) -> None:
    going_on: list[str] = []
    most: dict[str, int] = {}

    async def play(run: RunContext, wish: Wish) -> Told:
        async def stay() -> str:
            going_on.append(wish.partition)
            most["all"] = max(most.get("all", 0), len(going_on))
            most[wish.partition] = max(most.get(wish.partition, 0), going_on.count(wish.partition))
            await asyncio.sleep(0.05)
            going_on.remove(wish.partition)
            return ""

        return Told(text=await run.step("stay", stay, result=str))

    theatre.play = play
    engine = await theatre.engine(Limits(at_once=3, per_partition=2)).open()
    runs = [await engine.submit("tale", Wish(partition="ab"[n % 2])) for n in range(12)]
    assert {await ended_state(engine, run.id) for run in runs} == {RunState.DONE}
    assert most == {"all": 3, "a": 2, "b": 2}


async def test_a_full_partition_does_not_hold_up_another(theatre: Theatre) -> None:
    gate = asyncio.Event()

    async def play(run: RunContext, wish: Wish) -> Told:
        async def stay() -> str:
            if wish.partition == "a":
                await gate.wait()
            return ""

        return Told(text=await run.step("stay", stay, result=str))

    theatre.play = play
    engine = await theatre.engine(Limits(per_partition=1)).open()
    full = [await engine.submit("tale", Wish(partition="a")) for _ in range(5)]
    other = await engine.submit("tale", Wish(partition="b"))
    assert await ended_state(engine, other.id) is RunState.DONE
    cancelled = await engine.cancel(full[-1].id)
    assert (cancelled.state, cancelled.epoch) == (RunState.CANCELLED, 0)  # it was still queued
    gate.set()
    assert {await ended_state(engine, run.id) for run in full[:-1]} == {RunState.DONE}


async def test_a_run_past_its_commit_cannot_be_cancelled(theatre: Theatre) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def play(run: RunContext, _wish: Wish) -> Told:
        async def stay() -> str:
            reached.set()
            await gate.wait()
            return ""

        run.protect()
        return Told(text=await run.step("stay", stay, result=str))

    theatre.play = play
    engine = await theatre.engine().open()
    run = await engine.submit("tale", Wish())
    await reached.wait()
    with pytest.raises(errors.Conflict) as caught:
        await engine.cancel(run.id)
    assert caught.value.code == "run.protected"
    gate.set()
    assert await ended_state(engine, run.id) is RunState.DONE
    with pytest.raises(errors.Conflict) as caught:
        await engine.cancel(run.id)
    assert caught.value.code == "run.ended"


async def test_what_does_not_exist_is_said_so(engine: Engine) -> None:
    for call in (engine.report, engine.cancel, engine.resume, engine.runs.fetch, engine.failure):
        with pytest.raises(errors.NotFound) as caught:
            await call("nothing")
        assert caught.value.code == "run.unknown"
    run = await engine.submit("tale", Wish())
    with pytest.raises(errors.Conflict) as caught:
        await engine.decide(run.id, "commit", "yes")
    assert caught.value.code == "decision.not_asked"
