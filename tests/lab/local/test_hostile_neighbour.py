"""A VM that means ill, or whose QEMU does not answer, beside others: the cloud and they go on."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act
from tests.lab.local.test_death import come_back, kill_service, qemu_pids

from crossport import errors
from crossport.clouds.local import LocalCloud, destroy
from crossport.clouds.local.spec import Layout
from crossport.model.artifact import ExportPoint, Role
from crossport.model.construct import Rule, SecurityGroup
from crossport.model.vm import Disk, Nic, PowerState
from crossport.spi.cloud import RoomFor
from crossport.units import MIB

pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    place = tmp_path_factory.mktemp("clouds") / "alpha"
    image = place.parent / "image"
    image.write_bytes(b"no boot sector".ljust(MIB, b"\0"))
    asyncio.run(clouds.prepared(place, image, network="user", projects=("default", "other")))
    yield place
    asyncio.run(destroy(place))


@pytest.fixture
async def alpha(root: Path) -> AsyncGenerator[LocalCloud]:
    async with clouds.borrowed(root) as cloud:
        yield cloud


async def test_a_qemu_that_does_not_answer_keeps_the_cloud_from_nothing_else(alpha: LocalCloud, root: Path):
    hung = await alpha.create_vm(act("hung"), clouds.described("hung"), clouds.IMAGE)
    other = await alpha.create_vm(act("other"), clouds.described("other"), clouds.IMAGE, power_on=False)
    (outer,) = qemu_pids(root)
    inner = deepest(outer)
    os.kill(inner, signal.SIGSTOP)
    try:
        kill_service(root)
        await come_back(alpha)
        assert {vm.name for vm in await alpha.vms()} == {"hung", "other"}
        await alpha.start(act("start"), other.id)
        assert (await alpha.vm(other.id)).power is PowerState.RUNNING
    finally:
        os.kill(inner, signal.SIGCONT)
    await alpha.power_off(act("off"), hung.id)
    assert (await alpha.vm(hung.id)).power is PowerState.STOPPED


def deepest(pid: int) -> int:
    """Return the last descendant of a process that has one child at most."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


async def test_what_a_tpm_left_in_its_place_is_not_read_and_not_given_away(
    alpha: LocalCloud, root: Path, tmp_path: Path
):
    canary = tmp_path / "canary"
    canary.write_bytes(b"a secret of the machine")
    wanted = clouds.described("evil", tpm=True)
    vm = await alpha.create_vm(act("create"), wanted, clouds.IMAGE, power_on=False)
    state = Layout(root).vm(vm.id) / "tpm" / "tpm2-00.permall"
    state.symlink_to(canary)
    for point in (ExportPoint.STOPPED, ExportPoint.SNAPSHOT):
        with pytest.raises(errors.Refused) as refusal:
            await alpha.export(act("export"), vm.id, point)
        assert refusal.value.code == "cloud.file.foreign"
        assert refusal.value.remedy
    await alpha.end_export(act("end"), vm.id)
    assert (canary.stat().st_uid, canary.read_bytes()) == (os.geteuid(), b"a secret of the machine")


async def test_the_gateways_user_can_open_a_socket_and_change_nothing_around_it(alpha: LocalCloud):
    rooms = (RoomFor(name="disk-0", role=Role.DISK, size=MIB),)
    (artifact,) = await alpha.prepare_import(act("prepare"), rooms)
    socket = Path(artifact.ref.locator.removeprefix("unix:").partition("?")[0])
    folder = socket.parent.stat()
    assert (folder.st_uid, socket.parent.parent.stat().st_uid) == (os.geteuid(), os.geteuid())
    if os.geteuid() == 0:
        gateway = socket.stat().st_uid
        assert (gateway != 0, folder.st_gid, folder.st_mode & 0o777) == (True, gateway, 0o710)
    assert socket.stat().st_mode & 0o777 == 0o600


WRONG = {
    "no MAC": (
        clouds.replaced(clouds.described("x"), nics=(Nic(mac='"; drop', network="private"),)),
        "nics[0].mac",
    ),
    "everybody's MAC": (
        clouds.replaced(clouds.described("x"), nics=(Nic(mac="ff:ff:ff:ff:ff:ff", network="private"),)),
        "nics[0].mac",
    ),
    "everybody's address": (
        clouds.replaced(
            clouds.described("x"), nics=(Nic(mac="", network="private", addresses=("10.20.0.255/24",)),)
        ),
        "nics[0].addresses",
    ),
    "a size below nothing": (
        clouds.replaced(
            clouds.described("x"),
            disks=(Disk(id="", name="", size=1 << 50), Disk(id="", name="", size=-(1 << 50))),
        ),
        "disks[0].size",
    ),
    "a hundred disks": (
        clouds.replaced(clouds.described("x"), disks=(Disk(id="", name="", size=512),) * 100),
        "disks",
    ),
    "no name": (clouds.described("\x1b[2J"), "name"),
}


async def test_descriptions_that_mean_ill_are_refused_and_leave_nothing(alpha: LocalCloud, root: Path):
    before = set((root / "volumes").iterdir())
    for case, (vm, field) in WRONG.items():
        with pytest.raises(errors.Invalid) as refusal:
            await alpha.create_vm(act(case), vm, clouds.IMAGE, power_on=False)
        assert (case, refusal.value.field) == (case, field)
        assert refusal.value.remedy
    with pytest.raises(errors.Invalid) as refusal:
        await alpha.add_security_group(SecurityGroup(name="bad", rules=(Rule(protocol="; flush ruleset"),)))
    assert refusal.value.code == "cloud.rule.unusable"
    assert "bad" not in [group.name for group in (await alpha.constructs()).security_groups]
    assert await alpha.vms() == ()
    assert set((root / "volumes").iterdir()) == before


async def test_a_project_does_not_share_the_disks_of_another(alpha: LocalCloud):
    mine = await alpha.create_vm(act("mine"), clouds.described("mine"), clouds.IMAGE, power_on=False)
    wanted = clouds.replaced(clouds.described("thief"), project="other")
    wanted = clouds.replaced(wanted, disks=(*wanted.disks, Disk(id=mine.disks[0].id, name="", size=0)))
    with pytest.raises(errors.NotFound) as refusal:
        await alpha.create_vm(act("thief"), wanted, clouds.IMAGE, power_on=False)
    assert (refusal.value.code, refusal.value.field) == ("volume.unknown", "disks[1].id")
