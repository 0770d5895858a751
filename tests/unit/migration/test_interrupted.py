"""A migration that is disturbed where little can go wrong, and must still not end in attention."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.migration.world import World

from crossport import errors
from crossport.model.run import RunState
from crossport.model.vm import PowerState


def failing_at_first(call: Callable[..., Awaitable[Any]], times: int) -> Callable[..., Awaitable[Any]]:
    """Return ``call``, which answers nothing the first ``times`` times."""
    left = [times]

    async def unsteady(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise errors.Unavailable("cloud.unreachable", "The cloud does not answer.")
        return await call(*arguments)

    return unsteady


@pytest.mark.parametrize("end", ["alpha", "beta"])
async def test_a_cloud_that_does_not_answer_at_once_is_asked_again(
    world: World, end: str, monkeypatch: pytest.MonkeyPatch
):
    cloud = getattr(world, end)
    monkeypatch.setattr(cloud, "check", failing_at_first(cloud.check, 3))
    assert (await world.migrate()).outcome is RunState.DONE


async def test_cancelling_a_test_migration_while_it_tidies_up_removes_the_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    async def cancelled_meanwhile(*_: Any) -> Any:
        world.context.cancel()
        raise errors.Unavailable("cloud.unreachable", "The cloud does not answer.")

    check = world.site.clean
    calls: list[str] = []

    async def clean(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[1])
        return await (check(*arguments, **options) if len(calls) > 1 else cancelled_meanwhile())

    monkeypatch.setattr(world.site, "clean", clean)
    report = await world.migrate(test=True)
    assert report.outcome is RunState.CANCELLED
    assert await world.target_vms() == ()
    assert (await world.source_vm()).power is PowerState.RUNNING
