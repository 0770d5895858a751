"""Kill what can be killed: service, QEMU, servers, writers of an old epoch. Nothing is lost or doubled."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act

from crossport import errors
from crossport.clouds.local import LocalCloud, destroy
from crossport.clouds.local.orphan import processes
from crossport.clouds.local.state import State
from crossport.hypervisor import nbd
from crossport.model.artifact import ExportPoint, Role
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import Disk, DiskBus, Nic, NicModel, PowerState
from crossport.spi.cloud import RoomFor
from crossport.units import MIB

pytestmark = pytest.mark.qemu


@pytest.fixture
async def alpha(tmp_path: Path) -> AsyncGenerator[LocalCloud]:
    image = tmp_path / "image"
    image.write_bytes(b"no boot sector".ljust(MIB, b"\0"))
    async with clouds.running_cloud(tmp_path / "alpha", image, network="user") as cloud:
        yield cloud


def kill_service(root: Path) -> None:
    os.kill(int((root / "lock").read_text()), signal.SIGKILL)


def qemu_pids(root: Path) -> list[int]:
    """Return the outermost process of each guest: bubblewrap is there twice."""
    found = {pid: parent for pid, parent, program in processes(root) if program == "qemu-system-x86_64"}
    return [pid for pid, parent in found.items() if parent not in found]


async def come_back(cloud: LocalCloud) -> None:
    """Call until the service that was killed is really gone and the driver has started another one."""
    for _ in range(50):
        try:
            await cloud.about()
        except errors.Unavailable:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("the service never came back")


async def settled(cloud: LocalCloud, vm_id: str, power: PowerState) -> None:
    for _ in range(100):
        if (await cloud.vm(vm_id)).power is power:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never {power}")


async def test_a_guest_outlives_its_service_and_is_found_again(alpha: LocalCloud, tmp_path: Path):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
    before = qemu_pids(tmp_path / "alpha")
    kill_service(tmp_path / "alpha")
    await come_back(alpha)
    assert (await alpha.vm(vm.id)).power is PowerState.RUNNING
    assert qemu_pids(tmp_path / "alpha") == before
    assert (await alpha.about()).orphans == ()
    await alpha.power_off(act("off"), vm.id)
    assert qemu_pids(tmp_path / "alpha") == []


async def test_a_killed_qemu_is_a_stopped_vm_that_starts_again(alpha: LocalCloud, tmp_path: Path):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
    for pid, _, _ in processes(tmp_path / "alpha"):
        os.kill(pid, signal.SIGKILL)
    await settled(alpha, vm.id, PowerState.STOPPED)
    await alpha.start(act("start"), vm.id)
    assert (await alpha.vm(vm.id)).power is PowerState.RUNNING


async def test_an_export_can_be_read_again_after_its_server_was_killed(alpha: LocalCloud, tmp_path: Path):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE, power_on=False)
    first = await alpha.export(act("export"), vm.id, ExportPoint.STOPPED)
    content = clouds.content(first.artifacts[0])
    kill_service(tmp_path / "alpha")
    assert clouds.content(first.artifacts[0]) == content
    for pid, _, _ in processes(tmp_path / "alpha"):
        os.kill(pid, signal.SIGKILL)
    await come_back(alpha)
    again = await alpha.export(act("export"), vm.id, ExportPoint.STOPPED)
    assert clouds.content(again.artifacts[0]) == content


async def test_a_higher_epoch_cuts_off_a_writer_in_the_middle(alpha: LocalCloud):
    rooms = (RoomFor(name="disk-0", role=Role.DISK, size=MIB),)
    (old,) = await alpha.prepare_import(act("prepare", epoch=1), rooms)
    writer = nbd.open_disk(old.ref.locator, writable=True)
    writer.write(0, b"old")
    writer.flush()
    (new,) = await alpha.prepare_import(act("prepare", epoch=2), rooms)
    with pytest.raises(errors.Unavailable):
        writer.write(4096, b"too late")
    writer.close()
    clouds.fill(new, b"new")
    (sealed,) = await alpha.seal_import(act("seal", epoch=2))
    assert clouds.content(sealed).rstrip(b"\0") == b"new"
    with pytest.raises(errors.Refused):
        nbd.open_disk(sealed.ref.locator, writable=True)


async def test_a_guest_that_did_not_boot_is_not_well(alpha: LocalCloud):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
    for kind in (ProbeKind.TCP, ProbeKind.HTTP, ProbeKind.CONSOLE, ProbeKind.COMMAND):
        probe = Probe(kind=kind, port=80, expect="web", command="true")
        assert not (await alpha.probe(vm.id, probe)).good, kind


async def test_a_vm_starts_by_itself_once_when_the_machine_has_booted(alpha: LocalCloud, tmp_path: Path):
    wanted = clouds.replaced(clouds.described("web"), autostart=True)
    vm = await alpha.create_vm(act("create"), wanted, clouds.IMAGE, power_on=False)
    held = await alpha.create_vm(
        act("held"), clouds.replaced(wanted, name="held"), clouds.IMAGE, power_on=False
    )
    await alpha.fence(act("fence"), held.id)
    machine_booted(tmp_path / "alpha")
    await come_back(alpha)
    await settled(alpha, vm.id, PowerState.RUNNING)
    assert (await alpha.vm(held.id)).power is PowerState.STOPPED
    await alpha.power_off(act("off"), vm.id)
    kill_service(tmp_path / "alpha")
    await come_back(alpha)
    await asyncio.sleep(0.5)
    assert (await alpha.vm(vm.id)).power is PowerState.STOPPED


def machine_booted(root: Path) -> None:
    """End the service, and let the next one think that the machine was off meanwhile."""
    kill_service(root)
    state = State(root / "state.db")
    state.remember("started in boot", "the one before")
    state.close()


async def test_a_disk_of_two_vms_is_told_of_both_and_goes_with_the_last(alpha: LocalCloud, tmp_path: Path):
    first = await alpha.create_vm(act("one"), clouds.described("one"), clouds.IMAGE, power_on=False)
    shared = first.disks[0].id
    wanted = clouds.described("two")
    wanted = clouds.replaced(wanted, disks=(*wanted.disks, Disk(id=shared, name="", size=0)))
    second = await alpha.create_vm(act("two"), wanted, clouds.IMAGE, power_on=False)
    assert (await alpha.vm(first.id)).disks[0].used_by == ("two",)
    assert [disk.used_by for disk in second.disks] == [(), ("one",)]
    assert second.disks[1].size == first.disks[0].size
    assert await alpha.delete_vm(act("delete"), first.id) == (f"VM one ({first.id})",)
    assert (await alpha.vm(second.id)).disks[1].used_by == ()
    await alpha.start(act("start"), second.id)
    await alpha.power_off(act("off"), second.id)
    assert len(await alpha.delete_vm(act("delete"), second.id)) == 3
    assert list((tmp_path / "alpha" / "volumes").iterdir()) == []


async def test_a_disk_that_no_vm_has_cannot_be_shared(alpha: LocalCloud):
    wanted = clouds.described("two")
    wanted = clouds.replaced(wanted, disks=(*wanted.disks, Disk(id="nobodys", name="", size=0)))
    with pytest.raises(errors.NotFound) as refusal:
        await alpha.create_vm(act("two"), wanted, clouds.IMAGE, power_on=False)
    assert (refusal.value.code, refusal.value.field) == ("volume.unknown", "disks[1].id")


async def test_two_makers_of_the_same_vm_make_one(alpha: LocalCloud, tmp_path: Path):
    other = await clouds.connected(tmp_path / "alpha")
    wanted = clouds.described("web")
    first, second = await asyncio.gather(
        *(cloud.create_vm(act("create"), wanted, clouds.IMAGE) for cloud in (alpha, other))
    )
    await other.close()
    assert first.id == second.id
    assert len(qemu_pids(tmp_path / "alpha")) == 1


async def test_two_commands_at_once_start_one_service(alpha: LocalCloud, tmp_path: Path):
    kill_service(tmp_path / "alpha")
    others = [await clouds.connected(tmp_path / "alpha") for _ in range(3)]
    await asyncio.gather(*(come_back(other) for other in others))
    assert len({(await other.about()).pid for other in others}) == 1
    for other in others:
        await other.close()


async def test_every_bus_and_card_is_accepted_by_qemu(alpha: LocalCloud):
    buses = [DiskBus.VIRTIO, DiskBus.VIRTIO_SCSI, DiskBus.SATA, DiskBus.IDE]
    for bus, model in zip([*buses, DiskBus.IDE], NicModel, strict=True):
        vm = clouds.described(f"vm-{model}", disk=Disk(id="", name="", size=0, bus=bus))
        nics = (Nic(mac="", network="private", model=model),)
        second = Disk(id="", name="", size=MIB, bus=DiskBus.SATA)
        vm = clouds.replaced(vm, nics=nics, disks=(*vm.disks, second))
        made = await alpha.create_vm(act(f"create-{model}"), vm, clouds.IMAGE)
        assert made.machine == ("pc-i440fx-7.2" if bus is DiskBus.IDE else "pc-q35-7.2")
        await alpha.power_off(act(f"off-{model}"), made.id)


async def test_a_name_that_tries_to_be_an_option_is_only_a_name(alpha: LocalCloud):
    name = 'web",file=/etc/passwd,readonly=on -monitor stdio \N{SNOWMAN}'
    made = await alpha.create_vm(act("create"), clouds.described(name), clouds.IMAGE)
    assert (made.name, made.power) == (name, PowerState.RUNNING)


async def test_a_service_that_nobody_needs_ends_but_not_while_a_guest_runs(tmp_path: Path):
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    root = tmp_path / "idle"
    async with clouds.running_cloud(root, image, network="user", idle_s=0.5) as cloud:
        vm = await cloud.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        first = (await cloud.about()).pid
        await asyncio.sleep(2)
        assert (await cloud.about()).pid == first
        await cloud.power_off(act("off"), vm.id)
        for _ in range(100):
            if not Path(f"/proc/{first}").exists():
                break
            await asyncio.sleep(0.1)
        assert (await cloud.about()).pid != first


async def test_a_guest_that_prints_without_end_fills_no_disk(tmp_path: Path):
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    root = tmp_path / "alpha"
    async with clouds.running_cloud(root, image, network="user", console_size=4096) as cloud:
        vm = await cloud.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        log = root / "vms" / vm.id / "console.log"
        with log.open("ab") as guest:
            guest.write(bytes(20_000) + b"the last words")
        for _ in range(100):
            if log.stat().st_size <= 2 * 4096:
                break
            await asyncio.sleep(0.1)
        assert log.stat().st_size <= 2 * 4096
        assert "the last words" in await cloud.console_log(vm.id)


async def test_destroying_leaves_no_process_and_no_file(tmp_path: Path):
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    root = tmp_path / "gone"
    async with clouds.running_cloud(root, image, network="user") as cloud:
        await cloud.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        rooms = (RoomFor(name="disk-0", role=Role.DISK, size=MIB),)
        await cloud.prepare_import(act("prepare"), rooms)
        assert len(list(processes(root))) == 4
        removed = await destroy(root)
        assert len(removed) == 3
        assert list(processes(root)) == []
        assert not root.exists()
        assert await destroy(root) == ()
