"""A real guest leaves one embedded cloud and goes on at another: off, running (its moment), and suspended."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act, answering

from crossport import errors
from crossport.clouds.local import LocalCloud
from crossport.hypervisor import nbd, qmp
from crossport.model.artifact import Artifact, Export, ExportPoint
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import VM, Firmware, PowerState
from crossport.spi.cloud import NewVM, RoomFor
from crossport.testing.guest import client

pytestmark = pytest.mark.qemu

PIECE = 4 << 20
TCP = Probe(kind=ProbeKind.TCP, port=80)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clouds.guest_image(tmp_path_factory.mktemp("image"))


async def address(cloud: LocalCloud, vm_id: str) -> str:
    door = await cloud.door(vm_id, 80)
    assert door is not None
    return f"http://{door.host}:{door.port}"


async def seed_taken_out(folder: Path) -> None:
    """Return when the drive is empty and the seed deleted: the guest has reported."""
    for _ in range(100):
        if not list(folder.glob("seed*/*")) and not (folder / "seed.iso").exists():
            break
        await asyncio.sleep(0.1)
    async with qmp.monitor(folder / "control") as steer:
        drives = await steer.execute("query-block")
    assert [drive.get("inserted") for drive in drives if drive["removable"]] == [None]
    assert not (folder / "seed.iso").exists()


def copied(source: Artifact, target: Artifact) -> None:
    """Copy one artifact, as a gateway would, with nothing but the two references."""
    reader = nbd.open_disk(source.ref.locator, writable=False)
    writer = nbd.open_disk(target.ref.locator, writable=True)
    for extent in reader.extents(0, source.ref.size):
        for start in range(extent.start, extent.start + extent.size, PIECE):
            size = min(PIECE, extent.start + extent.size - start)
            if not extent.zero:
                buffer = bytearray(size)
                reader.read_into(start, memoryview(buffer))
                writer.write(start, memoryview(buffer))
    writer.flush()
    writer.close()
    reader.close()


async def moved(export: Export, beta: LocalCloud, *, resume: bool = False) -> VM:
    """Write the export into ``beta``, seal it, compare every byte, and start a VM from it."""
    rooms = tuple(
        RoomFor(name=one.name, role=one.role, size=one.ref.size, storage_class="") for one in export.artifacts
    )
    prepared = await beta.prepare_import(act("prepare"), rooms)
    for source, target in zip(export.artifacts, prepared, strict=True):
        await asyncio.to_thread(copied, source, target)
    sealed = await beta.seal_import(act("seal"))
    for source, target in zip(export.artifacts, sealed, strict=True):
        assert target.ref.size == source.ref.size
        assert await asyncio.to_thread(clouds.content, source) == await asyncio.to_thread(
            clouds.content, target
        )
    new = NewVM(vm=dataclasses.replace(export.vm, id=""), artifacts=sealed, resume=resume)
    return await beta.instantiate(act("instantiate"), new)


def command(text: str, expect: str = "") -> Probe:
    return Probe(kind=ProbeKind.COMMAND, command=text, expect=expect)


async def commands_are_answered(cloud: LocalCloud, vm_id: str) -> None:
    """Type at the guest's console: what it answers counts, not the echo of what was typed."""
    long = "echo " + " ".join(["many words"] * 45) + " end"
    for probe in (command("cat /data/boots", "1"), command("true"), command(long, "words end")):
        result = await cloud.probe(vm_id, probe)
        assert result.good, result.text
    for probe, text in (
        (command("grep nothing /etc/passwd"), "ends with 1."),
        (command("true # answer", "answer"), "waited for the end of the command within 10 s."),
        (command("true answer", "answer"), "ends with 0, but without 'answer'."),
    ):
        result = await cloud.probe(vm_id, probe)
        assert (result.good, result.text.endswith(text)) == (False, True), result.text
    # What was left unfinished does not swallow the next one, and two at once do not get in each other's way.
    both = await asyncio.gather(
        *(cloud.probe(vm_id, command(f"echo $(({n}*11))", f"{n}{n}")) for n in (3, 4))
    )
    assert [result.text for result in both if not result.good] == []
    log = await cloud.console_log(vm_id)
    assert "CROSSPORT-GUEST-UP" in log
    assert "many words end" in log


async def test_a_bios_guest_is_copied_while_it_runs_and_moves_when_it_is_off(tmp_path: Path, image: Path):
    async with (
        clouds.running_cloud(tmp_path / "alpha", image, network="user") as alpha,
        clouds.running_cloud(tmp_path / "beta", image, network="user") as beta,
    ):
        vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE)
        early = await alpha.probe(vm.id, TCP)
        assert (early.good, early.text) == (False, "The guest does not answer at 80.")
        await answering(alpha, vm.id)
        assert (await alpha.probe(vm.id, TCP)).good
        assert not (await alpha.probe(vm.id, dataclasses.replace(TCP, port=81))).good
        await seed_taken_out(tmp_path / "alpha" / "vms" / vm.id)
        before = client.state(await address(alpha, vm.id))
        assert (before.firmware, before.hostname, before.instance_id) == ("bios", "web", vm.id)
        assert before.addresses["eth0"] == vm.nics[0].addresses
        assert before.keys[0].split()[:2] == clouds.KEY.split()[:2]

        await commands_are_answered(alpha, vm.id)
        stored = client.store(await address(alpha, vm.id), "early", b"before the moment")
        moment = await alpha.export(act("moment"), vm.id, ExportPoint.SNAPSHOT)
        first = clouds.content(moment.artifacts[0])
        client.fill(await address(alpha, vm.id), "later", 4)
        assert clouds.content(moment.artifacts[0]) == first
        await alpha.end_export(act("end-moment"), vm.id)
        assert client.state(await address(alpha, vm.id)).boots == 1
        assert b"before the moment" in first

        assert await alpha.shut_down(act("down"), vm.id, 60)
        export = await alpha.export(act("export"), vm.id, ExportPoint.STOPPED)
        with pytest.raises(errors.Conflict, match="are being read"):
            await alpha.start(act("start"), vm.id)
        new = await moved(export, beta)
        await alpha.end_export(act("end"), vm.id)
        fence = await alpha.fence(act("fence"), vm.id)
        assert len(fence.done) == 2
        with pytest.raises(errors.Refused):
            await alpha.start(act("start"), vm.id)

        assert (new.quarantined, new.instance_id, new.nics[0].mac) == (True, vm.id, vm.nics[0].mac)
        await answering(beta, new.id)
        assert await beta.door(new.id, 80) is None
        await beta.open_network(act("open"), new.id)
        after = client.state(await address(beta, new.id))
        assert (after.boots, after.host_key, after.instance_id) == (2, before.host_key, before.instance_id)
        await seed_taken_out(tmp_path / "beta" / "vms" / new.id)
        assert after.data["early"] == stored
        assert set(after.data) == {"early", "later"}


async def test_a_suspended_uefi_guest_with_a_tpm_goes_on_where_it_was(tmp_path: Path, image: Path):
    async with (
        clouds.running_cloud(tmp_path / "alpha", image, network="user") as alpha,
        clouds.running_cloud(tmp_path / "beta", image, network="user") as beta,
    ):
        wanted = clouds.described("web", firmware=Firmware.UEFI, tpm=True)
        vm = await alpha.create_vm(act("create"), wanted, clouds.IMAGE)
        await answering(alpha, vm.id)
        before = client.state(await address(alpha, vm.id))
        assert before.firmware == "uefi"

        await alpha.suspend(act("suspend"), vm.id)
        export = await alpha.export(act("export"), vm.id, ExportPoint.SUSPENDED)
        assert [one.name for one in export.artifacts] == ["disk-0", "nvram", "tpm", "memory"]
        new = await moved(export, beta, resume=True)
        await answering(beta, new.id)
        await beta.open_network(act("open"), new.id)
        after = client.state(await address(beta, new.id))
        assert (after.boot_id, after.boots) == (before.boot_id, 1)
        assert after.uptime_s > before.uptime_s

        # The source was not touched by all that, and can still go on as if nothing had been.
        await beta.power_off(act("off"), new.id)
        await alpha.end_export(act("end"), vm.id)
        await alpha.start(act("resume"), vm.id)
        again = client.state(await address(alpha, vm.id))
        assert (again.boot_id, again.boots) == (before.boot_id, 1)
        assert (await alpha.vm(vm.id)).power is PowerState.RUNNING
