"""A guest that QEMU stopped over a full file system stands still for all to see, and goes on with more room.

The guest is a boot sector that writes its disk from the start to the end through the BIOS.
"""

import asyncio
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act

from crossport.clouds.local import LocalCloud
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import VM, Disk, PowerState
from crossport.units import MIB

pytestmark = [pytest.mark.qemu, pytest.mark.root]

# xor ax,ax; mov ds,ax; mov si,packet; again: mov ax,4300h; mov dl,80h; int 13h; add dword [si+8],64;
# jmp again
CODE = bytes.fromhex("31c0 8ed8 be157c b80043 b280 cd13 6683440840 ebf2")
PACKET = bytes.fromhex("1000 4000 007c 0000 0100000000000000")  # 64 sectors from 0:7c00, to sector 1 and on
PROMISE = Probe(kind=ProbeKind.CONSOLE, expect="")


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """Return a file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


async def halted(cloud: LocalCloud, vm_id: str) -> VM:
    """Return the VM when it stands still; a minute is for a machine that does much else."""
    for _ in range(240):
        if (vm := await cloud.vm(vm_id)).halted:
            return vm
        await asyncio.sleep(0.25)
    raise AssertionError(await cloud.vm(vm_id))


async def test_a_guest_over_a_full_disk_stands_still_and_goes_on_when_there_is_room(
    small: Path, tmp_path: Path
):
    image = tmp_path / "image"
    image.write_bytes((CODE + PACKET).ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    async with clouds.running_cloud(small / "alpha", image, network="user", overcommit=4.0) as cloud:
        wanted = clouds.described("writer", disk=Disk(id="", name="", size=32 * MIB))
        made = await cloud.create_vm(act("create"), wanted, clouds.IMAGE)
        vm = await halted(cloud, made.id)
        assert (vm.power, "full" in vm.halted) == (PowerState.RUNNING, True)
        assert [one.halted for one in await cloud.vms()] == [vm.halted]
        asked = await cloud.probe(vm.id, PROMISE)
        assert (asked.good, "stands still" in asked.text) == (False, True)
        await asyncio.to_thread(grow, small)
        await cloud.start(act("start"), vm.id)
        assert (await cloud.vm(vm.id)).halted == ""
        await cloud.power_off(act("off"), vm.id)
