"""Embedded clouds for tests, with real guests under software emulation, and everything removed afterwards."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from pathlib import Path

from crossport.clouds.local import CloudSpec, LocalCloud, connect, create, destroy
from crossport.hypervisor import nbd
from crossport.model.artifact import Artifact
from crossport.model.health import Probe, ProbeKind
from crossport.model.request import CloudEntry
from crossport.model.run import Act
from crossport.model.vm import VM, Disk, Firmware, Nic, PowerState
from crossport.spi.secret import Secret
from crossport.testing.guest import build_guest

IMAGE = "small-guest"
STATE = Probe(kind=ProbeKind.HTTP, port=80, path="/cgi-bin/state")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBPu6TSPTWZiA8yLDkyM9ZYVqhTw2fxKn2sGn8GwQGmM somebody"


class NoSecrets:
    """For clouds whose token lies in their directory."""

    async def put(self, reference: str, secret: Secret) -> None:
        raise AssertionError(reference, secret)

    async def fetch(self, reference: str) -> Secret:
        raise AssertionError(reference)

    async def forget(self, reference: str) -> None:
        raise AssertionError(reference)


def guest_image(folder: Path) -> Path:
    """Return the small guest's disk; built once and kept outside the checkout."""
    return build_guest(folder / "guest.raw", cache=Path.home() / ".cache/crossport/guest").path


async def prepared(root: Path, image: Path, **changes: object) -> None:
    """Make a cloud with the small guest's image in it."""
    spec = dataclasses.replace(CloudSpec(name=root.name, accelerator="tcg"), **changes)
    create(root, spec, Secret(f"the token of {root}"))
    cloud = await connected(root)
    await cloud.register_image(IMAGE, image)
    await cloud.add_key("somebody", KEY)
    await cloud.close()


@contextlib.asynccontextmanager
async def running_cloud(root: Path, image: Path, **changes: object) -> AsyncGenerator[LocalCloud]:
    """Make such a cloud, connect to it, and remove it afterwards."""
    await prepared(root, image, **changes)
    cloud = await connected(root)
    try:
        yield cloud
    finally:
        await cloud.close()
        await destroy(root)


@contextlib.asynccontextmanager
async def borrowed(root: Path) -> AsyncGenerator[LocalCloud]:
    """Connect to a cloud that others use too; leave no VM and no volume in it."""
    cloud = await connected(root)
    yield cloud
    await cleared(cloud)
    await cloud.close()


async def connected(root: Path) -> LocalCloud:
    """Connect as the product does."""
    return await connect(
        CloudEntry(name=root.name, driver="local", settings={"path": str(root)}), NoSecrets()
    )


def described(
    name: str, *, firmware: Firmware = Firmware.BIOS, tpm: bool = False, disk: Disk | None = None
) -> VM:
    """Return the description of a small VM with one NIC."""
    return VM(
        id="",
        name=name,
        project="",
        zone="",
        flavor="tiny",
        cpus=1,
        memory=0,
        firmware=firmware,
        tpm=tpm,
        disks=(disk or Disk(id="", name="", size=0),),
        nics=(Nic(mac="", network="private", security_groups=("default",)),),
        keys=("somebody",),
    )


def act(step: str, *, run: str = "run-1", epoch: int = 1) -> Act:
    """Return a name to act in."""
    return Act(run=run, step=step, epoch=epoch)


async def answering(cloud: LocalCloud, vm_id: str) -> None:
    """Return when the guest serves; two minutes are for a machine that does much else."""
    for _ in range(400):
        if (await cloud.probe(vm_id, STATE)).good:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(await cloud.console_log(vm_id, 2000))


async def cleared(cloud: LocalCloud) -> None:
    """Take every VM and volume away."""
    for vm in await cloud.vms():
        if vm.power is not PowerState.STOPPED:
            await cloud.power_off(act("off", run="clearing"), vm.id)
        await cloud.delete_vm(act("delete", run="clearing"), vm.id)


def content(artifact: Artifact) -> bytes:
    """Return all bytes of an artifact, through our own NBD client."""
    disk = nbd.open_disk(artifact.ref.locator, writable=False)
    try:
        buffer = bytearray(artifact.ref.size)
        disk.read_into(0, memoryview(buffer))
        return bytes(buffer)
    finally:
        disk.close()


def fill(artifact: Artifact, data: bytes) -> None:
    """Write ``data`` at the start of an artifact, durably."""
    disk = nbd.open_disk(artifact.ref.locator, writable=True)
    try:
        disk.write(0, data)
        disk.flush()
    finally:
        disk.close()


def replaced(vm: VM, **changes: object) -> VM:
    """Return the description with other fields."""
    return dataclasses.replace(vm, **changes)
