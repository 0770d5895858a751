"""Debian's guest agent in a real guest: it freezes, its hook fails, its hook does not return for long.

Whatever it does, the export is made, says how it found the disks, and the guest goes on.
"""

import asyncio
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act, answering
from tests.lab.local.debian_agent import debian_agent_image

from crossport.clouds.local import LocalCloud
from crossport.model.artifact import Consistency, ExportPoint
from crossport.model.vm import VM
from crossport.testing.guest import client

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900)]


async def tell(cloud: LocalCloud, vm: VM, name: str, text: str) -> None:
    """Have the guest write something to its disk, which a frozen one cannot."""
    door = await cloud.door(vm.id, 80)
    assert door is not None
    where = f"http://{door.host}:{door.port}"
    await asyncio.to_thread(client.store, where, name, text.encode(), timeout_s=60.0)


async def caught(cloud: LocalCloud, vm: VM, name: str) -> Consistency:
    """Export a moment of the guest, see that it goes on, and say how its disks were found."""
    export = await cloud.export(act(name), vm.id, ExportPoint.SNAPSHOT)
    await tell(cloud, vm, "after", name)
    await cloud.end_export(act(name), vm.id)
    return export.consistency


async def test_a_guest_with_debians_agent_goes_on_whatever_its_hook_does(tmp_path: Path):
    image = await asyncio.to_thread(debian_agent_image, tmp_path)
    async with clouds.running_cloud(tmp_path / "alpha", image, network="user") as cloud:
        vm = await cloud.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        await answering(cloud, vm.id)
        await tell(cloud, vm, "hook", "none")
        assert await caught(cloud, vm, "calm") is Consistency.FROZEN
        await tell(cloud, vm, "hook", "fail")
        assert await caught(cloud, vm, "failed") is Consistency.CRASH
        await tell(cloud, vm, "hook", "hang")
        assert await caught(cloud, vm, "hung") is Consistency.CRASH
        await tell(cloud, vm, "hook", "none")
        assert await caught(cloud, vm, "calm-again") is Consistency.FROZEN
        await cloud.power_off(act("off"), vm.id)
