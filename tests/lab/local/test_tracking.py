"""What dirty bitmaps cannot tell is told as changed: after a crash of QEMU, and of raw disks that are off."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.test_conformance import RealStage

from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import Guest, State
from crossport.model.artifact import Artifact, ExportPoint, Marks
from crossport.model.vm import VM, Disk, PowerState
from crossport.testing.conformance.cloud_tracking import FIRST, SECOND, changed_at

pytestmark = pytest.mark.qemu


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[RealStage]:
    image = clouds.guest_image(tmp_path)
    async with clouds.running_cloud(tmp_path / "alpha", image, network="user") as cloud:
        yield RealStage(cloud, tmp_path / "alpha")


async def opened(stage: RealStage, vm: VM, point: ExportPoint, marks: Marks) -> Artifact:
    export = await stage.cloud.export_changes(clouds.act(f"sync-{marks.mark}"), vm.id, point, marks)
    return export.artifacts[0]


def process_of(stage: RealStage, vm: VM) -> int:
    state = State(Layout(stage.root).state)
    guest = state.find(vm.id, Guest)
    state.close()
    assert guest is not None
    assert guest.daemon is not None
    return guest.daemon.pid


async def off(stage: RealStage, vm: VM) -> None:
    for _ in range(200):
        if (await stage.cloud.vm(vm.id)).power is PowerState.STOPPED:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the VM does not go off")


async def test_after_a_crash_of_qemu_everything_counts_as_changed(stage: RealStage):
    vm = await stage.cloud.create_vm(clouds.act("create"), stage.described("web"), stage.image)
    await opened(stage, vm, ExportPoint.SNAPSHOT, Marks(mark="a"))
    await stage.scribble(vm, FIRST, 7)
    os.kill(process_of(stage, vm), signal.SIGKILL)
    await off(stage, vm)
    disk = await opened(stage, vm, ExportPoint.STOPPED, Marks(since="a", mark="b"))
    assert all(extent.changed for extent in await stage.extents(disk))
    # The mark that was set behind the crash is a good one; asked for again, the lost one stays lost.
    await stage.cloud.end_export(clouds.act("end"), vm.id)
    await stage.cloud.start(clouds.act("start"), vm.id)
    await stage.scribble(vm, SECOND, 8)
    disk = await opened(stage, vm, ExportPoint.SNAPSHOT, Marks(since="b", mark="a"))
    extents = await stage.extents(disk)
    assert changed_at(extents, SECOND)
    assert not all(extent.changed for extent in extents)
    await stage.cloud.end_export(clouds.act("end"), vm.id)
    await stage.cloud.end_tracking(clouds.act("end"), vm.id)
    await stage.cloud.power_off(clouds.act("off"), vm.id)


async def test_a_raw_disk_tells_changes_while_the_vm_runs_and_everything_when_it_is_off(stage: RealStage):
    disk = Disk(id="", name="", size=0, storage_class="raw")
    wanted = dataclasses.replace(stage.described("web"), disks=(disk,))
    vm = await stage.cloud.create_vm(clouds.act("create"), wanted, stage.image)
    await opened(stage, vm, ExportPoint.SNAPSHOT, Marks(mark="a"))
    await stage.scribble(vm, FIRST, 7)
    extents = await stage.extents(await opened(stage, vm, ExportPoint.SNAPSHOT, Marks(since="a", mark="b")))
    assert changed_at(extents, FIRST)
    assert not changed_at(extents, SECOND)
    await stage.cloud.end_export(clouds.act("end"), vm.id)
    await stage.cloud.power_off(clouds.act("off"), vm.id)
    disk_off = await opened(stage, vm, ExportPoint.STOPPED, Marks(since="b"))
    assert all(extent.changed for extent in await stage.extents(disk_off))
    await stage.cloud.end_export(clouds.act("end"), vm.id)
    await stage.cloud.end_tracking(clouds.act("end"), vm.id)
