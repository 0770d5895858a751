"""What two real embedded clouds cannot do is refused by command, with field, reason and remedy.

Afterwards there is no run, no volume, no process and no word in a ledger that was not there before. Nothing
here boots: the disks hold no system.
"""

import asyncio
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.local import clouds
from tests.lab.serve.test_life import Machine

from crossport.client import Client, calls, over_socket
from crossport.client.embedded import read_token
from crossport.clouds.local import destroy
from crossport.clouds.local.orphan import processes
from crossport.model.construct import Network, Quota
from crossport.model.vm import Disk, Nic
from crossport.units import GIB, MIB

pytestmark = [pytest.mark.qemu]

PLENTY = Quota(vms=9, cpus=9, memory=64 * GIB, disk=GIB)
OFFICE = (Network(name="office", cidr="10.5.0.0/24"), Network(name="dmz", cidr="10.6.0.0/24"))
CLOUDS: dict[str, dict[str, object]] = {
    "alpha": {},
    "beta": {"networks": OFFICE},
    "tight": {"quota": Quota(vms=0, cpus=0, memory=64 * MIB, disk=MIB // 2)},
    # Of a file system it promises what is free, less what has been promised: of this one nothing.
    "no-disk": {"overcommit": 1e-12},
}


async def filled(root: Path) -> None:
    image = root / "image"
    image.write_bytes(b"no boot sector".ljust(MIB, b"\0"))
    for name, changes in CLOUDS.items():
        made = {"quota": PLENTY, **changes}
        # Where there is no room there is none for an image either, and none is needed.
        await clouds.prepared(root / name, image, network="user", **made)
    cloud = await clouds.connected(root / "alpha")

    async def make(name: str, **changes: object) -> Any:
        wanted = clouds.replaced(clouds.described(name), **changes)
        return await cloud.create_vm(clouds.act(name), wanted, clouds.IMAGE, power_on=False)

    web = await make("web")
    disks = (*clouds.described("x").disks, Disk(id=web.disks[0].id, name="", size=0))
    nic = Nic(mac="", network="private", security_groups=("default",))
    await make("archive", disks=disks)
    await make("plain")
    await make("two-nics", nics=(nic, nic))
    snapped = await make("snapped")
    await cloud.snapshot(clouds.act("snapshot"), snapped.id, "monday")
    await cloud.close()
    beta = await clouds.connected(root / "beta")
    there = clouds.replaced(clouds.described("taken"), nics=(Nic(mac="", network="office"),))
    await beta.create_vm(clouds.act("there"), there, clouds.IMAGE, power_on=False)
    await beta.close()
    cloud = await clouds.connected(root / "alpha")
    await cloud.create_vm(clouds.act("taken"), clouds.described("taken"), clouds.IMAGE, power_on=False)
    await cloud.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    root = tmp_path_factory.mktemp("site")
    one = Machine(root / "home")
    try:
        asyncio.run(filled(root))
        for name in CLOUDS:
            status, _, told = one.run("cloud", "add", name, "local", "--set", f"path={root / name}")
            assert status == 0, told
        yield one
    finally:
        one.end()
        for name in CLOUDS:
            asyncio.run(destroy(root / name))


def world(machine: Machine) -> tuple[object, ...]:
    """Return everything that a refused command could have left: runs, files of clouds, processes."""
    root = machine.home.parent
    files = [
        (path, path.stat().st_size)
        for name in CLOUDS
        for folder in ("volumes", "images", "vms", "exports", "run")
        for path in sorted((root / name / folder).rglob("*"))
    ]
    running = [one for name in CLOUDS for one in processes(root / name)]
    with Client(
        over_socket(machine.control / "socket"), read_token(machine.control / "token"), time.sleep
    ) as client:
        return client.send(calls.runs()).items, files, running


def move(vm: str, target: str = "beta", *more: str) -> tuple[str, ...]:
    return ("migrate", vm, "--from", "alpha", "--to", target, *more)


OFFICE_RULE = ("--map-network", "private=office")
MAKE = ("vm", "create", "alpha")
LIKE = ("--image", clouds.IMAGE, "--flavor", "tiny", "--network", "private")
# What is typed; the exit status; the code; what must be told: the thing at fault, the reason, the remedy.
WRONG: dict[str, tuple[tuple[str, ...], int, str, tuple[str, ...]]] = {
    "cloud": (move("plain", "moon"), 2, "cloud.unknown", ("target:", "no cloud moon", "alpha", "cloud add")),
    "vm": (move("nobody"), 2, "vm.unknown", ("vm:", "alpha has no VM nobody", "List the VMs")),
    "flavor": (
        move("plain", "beta", *OFFICE_RULE, "--flavor", "huge"),
        3,
        "mapping.flavor.unknown",
        ("flavor huge", "beta has no flavor huge", "Choose one of: tiny"),
    ),
    "network": (
        move("plain", "beta", "--map-network", "private=moon"),
        3,
        "mapping.network.unknown",
        ("network moon", "beta has no network moon", "Choose one of: office, dmz"),
    ),
    "lost NIC": (
        move("two-nics"),
        3,
        "mapping.network.none",
        ("network private", "would lose a NIC", "--map-network private=NAME out of: office, dmz"),
    ),
    "name": (move("taken", "beta", *OFFICE_RULE), 3, "target.name.taken", ("vm taken", "already", "--name")),
    "bad name": (
        move("plain", "beta", *OFFICE_RULE, "--name", "a\tb"),
        3,
        "target.name.unusable",
        ("vm 'a\\tb'", "cannot be shown", "--name"),
    ),
    "quota": (
        move("plain", "tight"),
        3,
        "target.quota.vms",
        (
            "4 findings",
            "1 of vms; the quota at tight leaves 0",
            "1 of cpus; the quota at tight leaves 0",
            "256 MiB of memory; the quota at tight leaves 64 MiB",
            "1 MiB of disk; the quota at tight leaves 512 KiB",
            "Ask the target's operator for more",
        ),
    ),
    "disk": (move("plain", "no-disk"), 3, "target.disk.full", ("no-disk has", "left")),
    "shared disk": (
        move("archive", "beta", *OFFICE_RULE),
        3,
        "disk.shared",
        ("also used by web", "Detach it"),
    ),
    "snapshots": (
        move("snapped", "beta", *OFFICE_RULE),
        3,
        "disk.snapshots",
        ("monday", "only its present state", "--accept disk.snapshots"),
    ),
    "new VM of a taken name": (
        (*MAKE, "plain", *LIKE),
        2,
        "vm.name.taken",
        ("name:", "alpha has a VM plain already", "Choose another name"),
    ),
    "new VM without a name": ((*MAKE, "", *LIKE), 2, "vm.name.unusable", ("name:", "empty", "another")),
    "new VM of an unknown image": (
        (*MAKE, "new", "--image", "moon", *LIKE[2:]),
        2,
        "image.unknown",
        ("image:", "no image moon", clouds.IMAGE),
    ),
    "new VM of an unknown network": (
        (*MAKE, "new", *LIKE[:4], "--network", "moon"),
        2,
        "vm.networks.unknown",
        ("networks:", "no network moon", "private"),
    ),
    "new VM where there is no quota": (
        ("vm", "create", "tight", "new", *LIKE),
        3,
        "cloud.quota.vms",
        ("vms:", "has 0 of vms left; it needs 1", "quota raised"),
    ),
    "cloud of a taken name": (
        ("cloud", "add", "beta", "local", "--set", "path=/nowhere"),
        2,
        "cloud.name.taken",
        ("name:", "already", "another name"),
    ),
    "image of a taken name": (
        ("image", "upload", "/etc/hostname", "--cloud", "alpha", "--name", clouds.IMAGE),
        2,
        "image.exists",
        ("name:", "already", "another name"),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_by_name_and_nothing_is_touched(machine: Machine, case: str):
    words, status, code, named = WRONG[case]
    before = world(machine)
    got, out, told = machine.run(*words)
    assert (got, f"Code: {code}" in told) == (status, True), out + told
    assert [one for one in (*named, "Remedy: ") if one not in told] == [], told
    assert out == ""
    assert world(machine) == before


def test_a_running_vm_keeps_others_from_the_disk_that_they_share(machine: Machine):
    status, _, told = machine.run("vm", "start", "alpha", "web")
    assert status == 0, told
    before = world(machine)
    status, _, told = machine.run("vm", "start", "alpha", "archive")
    assert (status, "Code: volume.in-use" in told) == (2, True), told
    for words in ("web runs and uses disk disk-0 of archive", "Stop it first"):
        assert words in told
    assert world(machine)[2] == before[2]
    assert machine.run("vm", "stop", "alpha", "web", "--shutdown", "0", "--power-off")[0] == 0
    status, _, told = machine.run("vm", "start", "alpha", "archive")
    assert status == 0, told
    assert machine.run("vm", "stop", "alpha", "archive", "--shutdown", "0", "--power-off")[0] == 0
