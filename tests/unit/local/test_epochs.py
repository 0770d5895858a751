"""Whoever waited for a VM while its run went on elsewhere is refused when its turn comes."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from crossport import errors
from crossport.clouds.local import CloudSpec, create
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.ownership import open_installation
from crossport.clouds.local.spec import Layout
from crossport.model.run import Act
from crossport.spi.secret import Secret

OLD, NEW = Act(run="run-1", step="step", epoch=1), Act(run="run-1", step="step", epoch=2)


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Installation]:
    create(tmp_path / "alpha", CloudSpec(name="alpha", network="user"), Secret("0123456789abcdef"))
    cloud = open_installation(Layout(tmp_path / "alpha"))
    yield cloud
    cloud.state.close()


async def worked(cloud: Installation, act: Act) -> None:
    async with cloud.working("vm", "working", act):
        await asyncio.sleep(0)


async def test_an_epoch_that_ended_while_it_waited_does_nothing(cloud: Installation):
    async with cloud.working("vm", "working", OLD):
        late = asyncio.ensure_future(worked(cloud, OLD))
        await asyncio.sleep(0)
        next_one = asyncio.ensure_future(worked(cloud, NEW))
        await asyncio.sleep(0)
    with pytest.raises(errors.Refused) as refusal:
        await late
    assert refusal.value.code == "cloud.epoch.old"
    await next_one
