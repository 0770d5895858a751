"""A migration that is disturbed where little can go wrong, and must still not end in attention."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.migration.world import World

from crossport import errors
from crossport.migration.leg import CERTAIN
from crossport.model.run import RunState
from crossport.model.vm import PowerState


def failing_at_first(call: Callable[..., Awaitable[Any]], times: int) -> Callable[..., Awaitable[Any]]:
    """Return ``call``, which answers nothing the first ``times`` times."""
    left = [times]

    async def unsteady(*arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise errors.Unavailable("cloud.unreachable", "The cloud does not answer.")
        return await call(*arguments, **options)

    return unsteady


@pytest.mark.parametrize("end", ["alpha", "beta"])
async def test_a_cloud_that_does_not_answer_at_once_is_asked_again(
    world: World, end: str, monkeypatch: pytest.MonkeyPatch
):
    cloud = getattr(world, end)
    monkeypatch.setattr(cloud, "check", failing_at_first(cloud.check, 3))
    assert (await world.migrate()).outcome is RunState.DONE


async def test_a_test_migration_whose_copy_is_well_is_no_longer_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    clean = world.site.clean

    async def cancelled_meanwhile(*arguments: Any, **options: Any) -> Any:
        world.context.cancel()
        return await clean(*arguments, **options)

    monkeypatch.setattr(world.site, "clean", cancelled_meanwhile)
    assert (await world.migrate(test=True)).outcome is RunState.DONE


async def test_a_test_migration_that_cannot_end_reading_removes_its_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(world.site, "clean", failing_at_first(world.site.clean, CERTAIN.attempts))
    report = await world.migrate(test=True)
    assert report.outcome is RunState.ROLLED_BACK
    assert await world.target_vms() == ()
    assert (await world.source_vm()).power is PowerState.RUNNING
