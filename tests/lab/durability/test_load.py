"""Many migrations asked for at once: all of them finish, a few at a time."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.migration.test_control import TENANT, open_place, wish

from crossport.model.run import RunState


@pytest.mark.timeout(900)
@pytest.mark.parametrize("many", [25, pytest.param(200, marks=pytest.mark.soak)])
async def test_migrations_queued_at_once_all_finish(tmp_path: Path, many: int):
    async with open_place(tmp_path) as place:
        names = [f"vm-{number:03}" for number in range(many)]
        for name in names:
            await place.vm(name)
        runs = [(await place.control.migrate(TENANT, wish(name), name)).id for name in names]
        ended = await asyncio.gather(*(place.engine.wait(run, 380.0) for run in runs))
        assert {run.state for run in ended} == {RunState.DONE}
        assert sorted(vm.name for vm in await place.beta.vms()) == names
