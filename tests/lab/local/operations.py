"""What an embedded cloud's service does to the world, one operation each, with how it is taken back."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.lab.local import clouds

from crossport.clouds.local import guest, inbound, offer, outbound, provision, snapshot, volume
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import OpenExport
from crossport.model.artifact import ExportPoint, Role
from crossport.model.run import Act
from crossport.model.vm import VM, Firmware
from crossport.spi.cloud import NewVM, RoomFor
from crossport.units import MIB

__all__ = ["OPERATIONS", "Operation"]

Work = Callable[[Installation, str], Awaitable[object]]


async def nothing(cloud: Installation, step: str) -> None:
    del cloud, step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """What is killed: ``before`` is done whole, then ``work``; ``after`` takes both back.

    Each gets a word that is new every time.
    """

    work: Work
    before: Work = nothing
    after: Work = nothing


ROOMS = (
    RoomFor(name="disk-0", role=Role.DISK, size=MIB),
    RoomFor(name="nvram", role=Role.NVRAM, size=540672),
)
MODERN = clouds.described("modern", firmware=Firmware.UEFI, tpm=True)


def act(step: str, word: str) -> Act:
    """Each try is a run of its own."""
    return clouds.act(word, run=step)


def made(vm: VM, *, power_on: bool) -> Operation:
    async def work(cloud: Installation, step: str) -> None:
        await provision.create_vm(cloud, act(step, "create"), vm, clouds.IMAGE, power_on)

    async def after(cloud: Installation, step: str) -> None:
        await provision.remove_guest(cloud, act(step, "remove"), cloud.made_id(act(step, "create"), "vm"))

    return Operation(work=work, after=after)


def with_vm(
    work: Callable[[Installation, Act, str], Awaitable[object]], *, vm: VM = MODERN, running: bool = False
) -> Operation:
    """Something that is done with a VM of its own."""
    first = made(vm, power_on=running)

    async def done(cloud: Installation, step: str) -> None:
        await work(cloud, act(step, "work"), cloud.made_id(act(step, "create"), "vm"))

    return Operation(before=first.work, work=done, after=first.after)


async def pieces() -> AsyncIterator[bytes]:
    yield b"an image".ljust(MIB, b"\0")


async def image_kept(cloud: Installation, step: str) -> None:
    if step not in [one.name for one in volume.images(cloud)]:
        await volume.register_image(cloud, step, "raw", pieces())


async def image_dropped(cloud: Installation, step: str) -> None:
    volume.drop_image(cloud, step)


async def prepared(cloud: Installation, step: str) -> None:
    await inbound.prepare_import(cloud, act(step, "prepare"), ROOMS)


async def sealed(cloud: Installation, step: str) -> None:
    await inbound.seal_import(cloud, act(step, "seal"))


async def prepared_and_sealed(cloud: Installation, step: str) -> None:
    await prepared(cloud, step)
    await sealed(cloud, step)


async def instantiated(cloud: Installation, step: str) -> None:
    artifacts = await inbound.seal_import(cloud, act(step, "seal"))
    vm = dataclasses.replace(MODERN, name=f"vm-{step}")
    await provision.instantiate(cloud, act(step, "instantiate"), NewVM(vm=vm, artifacts=artifacts))


async def removed(cloud: Installation, step: str) -> None:
    """Remove what the run made, known by its tag, as somebody who does not repeat it does."""
    end = act(step, "give up")
    for opened in cloud.state.every(OpenExport):
        await outbound.end_export(cloud, dataclasses.replace(end, run=opened.run), opened.vm_id)
    for thing in offer.tagged(cloud, step):
        await offer.remove(cloud, end, thing)
    assert offer.tagged(cloud, step) == ()


OPERATIONS = {
    "create": made(MODERN, power_on=False),
    "create and start": made(MODERN, power_on=True),
    "start": with_vm(guest.start),
    "power off": with_vm(guest.power_off, running=True),
    "suspend": with_vm(guest.suspend, vm=clouds.described("old"), running=True),
    "fence": with_vm(guest.fence),
    "unfence": with_vm(guest.unfence),
    "snapshot": with_vm(lambda cloud, act, vm: snapshot.take(cloud, act, vm, "monday")),
    "delete": with_vm(provision.delete_vm),
    "export": with_vm(lambda cloud, act, vm: outbound.export(cloud, act, vm, ExportPoint.STOPPED)),
    "live export": with_vm(
        lambda cloud, act, vm: outbound.export(cloud, act, vm, ExportPoint.SNAPSHOT), running=True
    ),
    "image": Operation(work=image_kept, after=image_dropped),
    "drop image": Operation(before=image_kept, work=image_dropped),
    "prepare": Operation(work=prepared, after=removed),
    "seal": Operation(before=prepared, work=sealed, after=removed),
    "instantiate": Operation(before=prepared_and_sealed, work=instantiated, after=removed),
}
