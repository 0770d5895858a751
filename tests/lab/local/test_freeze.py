"""A real guest is frozen by its agent at the moment of a snapshot, and goes on whoever is killed then."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act, answering

from crossport import errors
from crossport.clouds.local import LocalCloud
from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import State, Still
from crossport.model.artifact import Consistency, ExportPoint
from crossport.model.vm import VM
from crossport.testing.guest import client

pytestmark = [pytest.mark.qemu]


@pytest.fixture
async def alpha(tmp_path: Path) -> AsyncGenerator[LocalCloud]:
    image = clouds.guest_image(tmp_path)
    async with clouds.running_cloud(tmp_path / "alpha", image, network="user") as cloud:
        yield cloud


async def stored(cloud: LocalCloud, vm: VM, timeout_s: float) -> bool:
    """Say whether the guest can write to its disk."""
    door = await cloud.door(vm.id, 80)
    assert door is not None
    where = f"http://{door.host}:{door.port}"
    try:
        await asyncio.to_thread(client.store, where, "now", b"written", timeout_s=timeout_s)
    except (errors.Unavailable, errors.Broken):
        return False
    return True


async def frozen_and_abandoned(agent: Path) -> None:
    """Freeze as the service does, and kill what would thaw."""
    line = (sys.executable, "-m", "crossport.hypervisor.freezer", str(agent), "60")
    pipe = asyncio.subprocess.PIPE
    freezer = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe)
    assert freezer.stdout is not None
    assert b'"frozen"' in await freezer.stdout.readline()
    freezer.kill()
    await freezer.wait()


async def test_a_guest_with_an_agent_is_frozen_and_goes_on(alpha: LocalCloud, tmp_path: Path):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
    # Its agent comes up with the rest of the guest: before that a moment is as after a power cut.
    early = await alpha.export(act("early"), vm.id, ExportPoint.SNAPSHOT)
    assert early.consistency is Consistency.CRASH
    await alpha.end_export(act("early"), vm.id)
    await answering(alpha, vm.id)

    export = await alpha.export(act("export"), vm.id, ExportPoint.SNAPSHOT)
    assert export.consistency is Consistency.FROZEN
    assert await stored(alpha, vm, 60.0)
    await alpha.end_export(act("end"), vm.id)

    root = tmp_path / "alpha"
    await frozen_and_abandoned(Layout(root).vm(vm.id) / "agent")
    assert not await stored(alpha, vm, 2.0), "a frozen guest writes nothing"
    state = State(Layout(root).state)
    state.put(vm.id, Still(id=vm.id))  # as the service writes it down before it freezes
    state.close()
    os.kill(int((root / "lock").read_text()), signal.SIGKILL)
    async with asyncio.timeout(60):
        while not await _asked(alpha, vm):  # noqa: ASYNC110 - the one that was killed takes its time to go
            await asyncio.sleep(0.1)
    assert await stored(alpha, vm, 60.0)

    await alpha.power_off(act("off"), vm.id)


async def _asked(cloud: LocalCloud, vm: VM) -> bool:
    """Say whether a service answers that has thawed what was left."""
    try:
        await cloud.vm(vm.id)
    except errors.Unavailable:
        return False
    return True
