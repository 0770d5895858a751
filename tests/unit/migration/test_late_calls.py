"""A call that comes late, when its end has gone on, neither writes over a copy nor fences a source anew."""

from pathlib import Path

import pytest
from tests.unit.migration.world import World, disk_bytes, new_world

from crossport import errors
from crossport.model.artifact import ExportPoint, Role
from crossport.model.run import Act
from crossport.model.vm import PowerState
from crossport.spi.cloud import RoomFor
from crossport.spi.site import StopRule


def late(world: World, step: str) -> Act:
    return Act(run=world.context.run, step=step, epoch=world.context.epoch)


async def test_room_is_not_made_where_the_copy_stands(tmp_path: Path):
    world = await new_world(tmp_path)
    await world.migrate()
    (copy,) = await world.target_vms()
    content = disk_bytes(world.beta, copy)
    room = RoomFor(name="disk-0", role=Role.DISK, size=copy.disks[0].size, storage_class="fast")
    with pytest.raises(errors.Conflict) as refusal:
        await world.site.prepare_import(late(world, "prepare-import"), "beta", (room,))
    assert refusal.value.code == "import.sealed"
    assert disk_bytes(world.beta, copy) == content


async def test_a_source_that_was_let_go_is_not_fenced(tmp_path: Path):
    world = await new_world(tmp_path, guest_health="bad-elsewhere")
    vm = await world.source_vm()
    await world.alpha.power_off(Act(run="owner", step="off", epoch=1), vm.id)
    await world.site.withdraw(late(world, "withdraw"), "alpha", vm.id)
    with pytest.raises(errors.Refused) as refusal:
        await world.site.export(
            late(world, "export"),
            "alpha",
            vm.id,
            point=ExportPoint.STOPPED,
            stop=StopRule(shutdown_s=1.0, power_off=False),
        )
    assert refusal.value.code == "permit.order.wrong"
    source = await world.source_vm()
    assert (source.power, source.fenced) == (PowerState.STOPPED, False)


async def test_what_is_made_after_it_was_removed_is_removed_again(tmp_path: Path):
    world = await new_world(tmp_path)
    room = RoomFor(name="disk-0", role=Role.DISK, size=1 << 16, storage_class="fast")
    await world.site.prepare_import(late(world, "prepare-import"), "beta", (room,))
    await world.site.clean(late(world, "clean"), "beta", keep_vm=False)
    await world.beta.prepare_import(late(world, "prepare-import"), (room,))  # the site never hears of it
    cleaned = await world.site.clean(late(world, "clean-again"), "beta", keep_vm=False)
    assert (len(cleaned.removed), cleaned.left) == (1, ())
    assert await world.beta.tagged(world.context.run) == ()
