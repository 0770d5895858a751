"""What the embedded cloud refuses before anything is touched, each with its code and the field at fault."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx
import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act

from crossport import errors
from crossport.clouds.local import CloudSpec, LocalCloud, create, destroy
from crossport.model.artifact import Role
from crossport.model.construct import Flavor, Network, Quota
from crossport.model.vm import VM, Disk, Nic
from crossport.spi.cloud import RoomFor
from crossport.spi.secret import Secret
from crossport.units import GIB, MIB

pytestmark = pytest.mark.qemu

QUOTA = Quota(vms=2, cpus=2, memory=512 * MIB, disk=64 * MIB)
FLAVORS = (Flavor(name="tiny", cpus=1, memory=256 * MIB), Flavor(name="wide", cpus=4, memory=256 * MIB))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    root = tmp_path_factory.mktemp("clouds") / "alpha"
    image = root.parent / "image"
    image.write_bytes(bytes(MIB))
    asyncio.run(clouds.prepared(root, image, network="user", quota=QUOTA, flavors=FLAVORS))
    yield root
    asyncio.run(destroy(root))


@pytest.fixture
async def alpha(root: Path) -> AsyncGenerator[LocalCloud]:
    async with clouds.borrowed(root) as cloud:
        yield cloud


def with_nic(network: str, *, mac: str = "", address: str = "", group: str = "default") -> VM:
    addresses = (address,) if address else ()
    nic = Nic(mac=mac, network=network, addresses=addresses, security_groups=(group,))
    return clouds.replaced(clouds.described("web"), nics=(nic,))


WRONG = {
    "flavor": (clouds.replaced(clouds.described("web"), flavor="huge"), "flavor.unknown", "flavor"),
    "network": (with_nic("nowhere"), "network.unknown", "nics[0].network"),
    "reserved": (with_nic("VMExportSubnet"), "network.reserved", "nics[0].network"),
    "group": (with_nic("private", group="open"), "security_group.unknown", "security_group"),
    "outside": (with_nic("private", address="10.99.0.4/24"), "nic.address.wrong", "nics[0].addresses"),
    "gateway": (with_nic("private", address="10.20.0.1/24"), "nic.address.wrong", "nics[0].addresses"),
    "key": (clouds.replaced(clouds.described("web"), keys=("nobody",)), "key.unknown", "key"),
    "zone": (clouds.replaced(clouds.described("web"), zone="moon"), "zone.unknown", "zone"),
    "project": (clouds.replaced(clouds.described("web"), project="x"), "project.unknown", "project"),
    "disks": (clouds.replaced(clouds.described("web"), disks=()), "vm.disks.none", "disks"),
    "processors": (clouds.replaced(clouds.described("web"), flavor="wide"), "cloud.quota.cpus", "cpus"),
    "disk": (
        clouds.described("web", disk=Disk(id="", name="", size=65 * MIB)),
        "cloud.quota.disk",
        "disk",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_cannot_be_made_is_refused_and_leaves_nothing(alpha: LocalCloud, case: str):
    vm, code, field = WRONG[case]
    with pytest.raises(errors.Error) as refusal:
        await alpha.create_vm(act(case), vm, clouds.IMAGE)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert refusal.value.remedy
    assert await alpha.vms() == ()
    assert (await alpha.constructs()).free == QUOTA


async def test_an_unknown_image_is_named_with_those_there_are(alpha: LocalCloud):
    with pytest.raises(errors.NotFound, match=clouds.IMAGE) as refusal:
        await alpha.create_vm(act("create"), clouds.described("web"), "no-such-image")
    assert refusal.value.code == "image.unknown"


async def test_the_quota_of_vms_is_kept_when_many_ask_at_once(alpha: LocalCloud):
    calls = [
        alpha.create_vm(act(f"create-{n}"), clouds.described(f"vm-{n}"), clouds.IMAGE, power_on=False)
        for n in range(5)
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    made = [one for one in outcomes if isinstance(one, VM)]
    assert len(made) == 2
    assert all(isinstance(one, VM | errors.Blocked) for one in outcomes)
    addresses = [vm.nics[0].addresses for vm in made]
    assert len(set(addresses)) == 2


async def test_a_taken_address_or_card_is_refused(alpha: LocalCloud):
    first = await alpha.create_vm(act("first"), clouds.described("web"), clouds.IMAGE, power_on=False)
    address, mac = first.nics[0].addresses[0], first.nics[0].mac
    for step, vm, code in (
        ("address", with_nic("private", address=address), "nic.address.taken"),
        ("card", with_nic("private", mac=mac), "nic.mac.taken"),
    ):
        with pytest.raises(errors.Conflict) as refusal:
            await alpha.create_vm(act(step), vm, clouds.IMAGE, power_on=False)
        assert refusal.value.code == code
    # A fenced VM is unplugged: what comes back after a round trip may take its place on purpose.
    await alpha.fence(act("fence"), first.id)
    again = await alpha.create_vm(
        act("again"), with_nic("private", mac=mac, address=address), clouds.IMAGE, False
    )
    assert again.nics == first.nics


@pytest.mark.parametrize(
    "room",
    [RoomFor(name="tpm", role=Role.TPM, size=GIB), RoomFor(name="disk-0", role=Role.DISK, size=-1)],
    ids=["a state that is too large", "a negative size"],
)
async def test_absurd_room_is_refused(alpha: LocalCloud, room: RoomFor):
    with pytest.raises(errors.Invalid) as refusal:
        await alpha.prepare_import(act("prepare"), (room,))
    assert (refusal.value.code, refusal.value.field) == ("import.room.wrong", "rooms[0]")


async def test_a_hostile_image_is_refused_and_not_kept(alpha: LocalCloud, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(MIB))
    image = tmp_path / "hostile.qcow2"
    process = await asyncio.create_subprocess_exec(
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(image)
    )
    assert await process.wait() == 0
    with pytest.raises(errors.Refused) as refusal:
        await alpha.register_image("hostile", image, "qcow2")
    assert "backing" in refusal.value.code
    assert [one.name for one in await alpha.images()] == [clouds.IMAGE]


async def test_a_seed_of_somebody_else_is_noticed(alpha: LocalCloud, tmp_path: Path):
    for name in ("meta-data", "user-data"):
        (tmp_path / name).write_text("instance-id: other\n")
    image = tmp_path / "seed.iso"
    process = await asyncio.create_subprocess_exec(
        "genisoimage", "-quiet", "-output", str(image), "-volid", "cidata", str(tmp_path / "meta-data")
    )
    assert await process.wait() == 0
    await alpha.register_image("seed", image)
    vm = await alpha.create_vm(act("create"), clouds.described("web"), "seed", power_on=False)
    assert [disk.seed for disk in vm.disks] == [True]
    await alpha.drop_image("seed")


async def test_a_snapshot_inside_the_disk_is_told(alpha: LocalCloud):
    vm = await alpha.create_vm(act("create"), clouds.described("web"), clouds.IMAGE, power_on=False)
    for _ in range(2):
        vm = await alpha.snapshot(act("snapshot"), vm.id, "before")
    await alpha.start(act("start"), vm.id)
    vm = await alpha.snapshot(act("again"), vm.id, "running")
    assert vm.disks[0].snapshots == ("before", "running")


async def test_nobody_gets_in_without_the_token(alpha: LocalCloud, root: Path):
    await alpha.check()
    transport = httpx.AsyncHTTPTransport(uds=str(root / "socket"))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as stranger:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            answer = await stranger.get("/v1/vms", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "cloud.token.wrong")
    assert (root / "socket").stat().st_mode & 0o777 == 0o600
    assert (root / "token").stat().st_mode & 0o777 == 0o600
    assert root.stat().st_mode & 0o777 == 0o700


def test_of_two_clouds_in_one_place_one_is_made(tmp_path: Path):
    create(tmp_path / "alpha", CloudSpec(name="alpha", network="user"), Secret("0123456789abcdef"))
    with pytest.raises(errors.Conflict) as refusal:
        create(tmp_path / "alpha", CloudSpec(name="alpha", network="user"), Secret("fedcba9876543210"))
    assert refusal.value.code == "cloud.exists"
    assert (tmp_path / "alpha" / "token").read_text() == "0123456789abcdef\n"
    assert [path.name for path in tmp_path.iterdir()] == ["alpha"]


async def test_a_network_that_overlaps_another_is_refused(alpha: LocalCloud):
    with pytest.raises(errors.Invalid) as refusal:
        await alpha.add_network(Network(name="more", cidr="10.20.0.128/25"))
    assert (refusal.value.code, refusal.value.field) == ("network.range.wrong", "cidr")
