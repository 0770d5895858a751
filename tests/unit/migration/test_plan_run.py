"""Plans on a whole site: cancelled, repeated after a failure, and disturbed."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_control import RULES, TENANT, Place, open_place
from tests.unit.migration.world import HTTP

from crossport import errors
from crossport.migration.plan import PlanReport
from crossport.model.plan import Plan, PlannedVM
from crossport.model.run import EventKind, RunState
from crossport.model.vm import PowerState


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with open_place(tmp_path) as place:
        await place.vm("web")
        yield place


def plan_of(*names: str, approval: bool = False) -> Plan:
    return Plan(
        name="move",
        source="alpha",
        target="beta",
        vms=tuple(PlannedVM(vm=name) for name in names),
        rules=RULES,
        checks=HTTP,
        approval=approval,
    )


async def begun(place: Place, plan: Plan) -> str:
    await place.control.put_plan(TENANT, plan)
    return (await place.control.run_plan(TENANT, plan.name, "")).id


async def states(place: Place) -> dict[str, RunState]:
    return {one.vm: one.state for one in (await place.control.plan_status(TENANT, "move")).vms}


async def told(place: Place, run: str, text: str) -> None:
    """Return when the plan's run tells ``text``."""
    async for event in place.control.events(TENANT, run, after=0, follow=True):
        if event.kind is EventKind.LOG and event.text == text:
            return


async def test_cancelling_a_plan_cancels_the_vms_that_move(place: Place):
    await place.vm("db")
    await place.vm("last")
    run = await begun(place, plan_of("web", "db", "last", approval=True))
    await told(place, run, "web: waiting")
    await told(place, run, "db: waiting")
    await place.control.cancel(TENANT, run)
    assert await place.ended(run) is RunState.CANCELLED
    assert await states(place) == {
        "web": RunState.CANCELLED,
        "db": RunState.CANCELLED,
        "last": RunState.QUEUED,
    }
    assert {vm.power for vm in await place.alpha.vms()} == {PowerState.RUNNING}
    assert await place.beta.vms() == ()
    report = await place.engine.report(run)
    assert isinstance(report, PlanReport)
    assert report.text == "Cancelled. 0 of 3 VMs moved."


async def test_a_plan_is_repeated_with_the_vms_that_have_not_moved(place: Place):
    ill = await place.vm("ill", guest_health="bad-elsewhere")
    first = await begun(place, plan_of("web", "ill"))
    assert await place.ended(first) is RunState.ATTENTION
    assert await states(place) == {"web": RunState.DONE, "ill": RunState.ROLLED_BACK}
    tags = {key: value for key, value in ill.tags.items() if key != "guest.health"}
    place.heal("ill", tags)
    check = await place.control.check_plan(TENANT, "move")
    assert [found.code for found in check.findings["web"]] == ["plan.vm.moved"]
    second = (await place.control.run_plan(TENANT, "move", "")).id
    assert await place.ended(second) is RunState.DONE
    assert await states(place) == {"web": RunState.DONE, "ill": RunState.DONE}
    assert len(await place.beta.vms()) == 2


async def test_a_plan_runs_once_at_a_time(place: Place):
    run = await begun(place, plan_of("web", approval=True))
    await told(place, run, "web: waiting")
    for call in (
        place.control.run_plan(TENANT, "move", "other"),
        place.control.put_plan(TENANT, plan_of("web")),
    ):
        with pytest.raises(errors.Conflict) as refusal:
            await call
        assert (refusal.value.code, run in refusal.value.remedy) == ("plan.running", True)
    await place.control.cancel(TENANT, run)
    assert await place.ended(run) is RunState.CANCELLED


async def test_a_database_that_is_away_for_a_moment_stops_no_plan(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    fetch, away = place.engine.runs.fetch, [3]

    async def unsteady(run: str) -> Any:
        if "-" in run and away[0]:
            away[0] -= 1
            raise errors.Unavailable("engine.database.unreachable", "The database is away.")
        return await fetch(run)

    await place.control.put_plan(TENANT, plan_of("web"))
    monkeypatch.setattr(place.engine.runs, "fetch", unsteady)
    run = (await place.control.run_plan(TENANT, "move", "")).id
    assert await place.ended(run) is RunState.DONE
    assert away == [0]
