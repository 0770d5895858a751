"""The real appliance over real disks: what a guest says, what it cannot do, and that it always ends.

The appliance is built once. What guests hold is written by mke2fs; no test needs root, and as root the
appliance runs as somebody else.
"""

import asyncio
import hashlib
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crossport import errors
from crossport.app.inspecting import inspecting
from crossport.hypervisor import confine
from crossport.inspector import Appliance, GuestLook
from crossport.model.artifact import DiskRef, Place
from crossport.model.inspection import Guest
from crossport.transfer.confined import LocalHost, Tool
from crossport.units import KIB, MIB

pytestmark = pytest.mark.qemu

HERE = Place(cloud="beta", subnet="import", address="10.0.0.1")
DPKG = "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n"
LIMIT_S = 100.0


class Clean:
    """A scanner that finds nothing."""

    async def ready(self) -> None:
        """It is there."""

    async def scan(self, path: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        del path, size
        async for _ in pieces:
            pass


@pytest.fixture
def look(appliance: Appliance, tmp_path: Path) -> Callable[..., GuestLook]:
    del tmp_path

    async def tool() -> Tool:
        paths = (appliance.kernel, appliance.ram_disk)
        return Tool(module="crossport.inspector.worker", arguments=(*map(str, paths), "tcg"), read=paths)

    def made(limit_s: float = LIMIT_S) -> GuestLook:
        return GuestLook(LocalHost(inspecting=tool), tool, limit_s, scanner=Clean())

    return made


def disk(path: Path, **files: str) -> DiskRef:
    """Make an ext4 disk with these files; ``a__b_c`` is a/b-c, and a text that begins with ``->`` a link."""
    tree = path.with_suffix(".d")
    tree.mkdir()
    for name, text in files.items():
        place = tree / name.replace("__", "/").replace("_", "-")
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            place.symlink_to(text[2:])
        else:
            place.write_text(text)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, path, "16M"], check=True, capture_output=True)
    return of(path)


def of(path: Path) -> DiskRef:
    path.chmod(0o644)
    return DiskRef(kind="file", locator=str(path), size=path.stat().st_size)


def running(appliance: Appliance) -> list[Path]:
    """Return the processes of this appliance's QEMU."""
    found: list[Path] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"qemu-system-x86_64" and str(appliance.ram_disk).encode() in words:
            found.append(process)
    return found


def begun(appliance: Appliance) -> list[Path]:
    """Wait for QEMU; return its processes, none when it did not come."""
    for _ in range(3000):
        if found := running(appliance):
            return found
        time.sleep(0.02)
    return []


async def test_a_guest_on_two_disks_is_read_and_can_do_nothing(
    appliance: Appliance, look: Callable[..., GuestLook], tmp_path: Path
):
    root = disk(
        tmp_path / "root.raw",
        usr__lib__os_release='ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n',
        etc__os_release="->../usr/lib/os-release",
        etc__hostname="->/places",  # a file of the appliance
    )
    var = disk(
        tmp_path / "var.raw", lib__dpkg__status=DPKG.format(name="bash") + DPKG.format(name="xz-utils")
    )
    noise = tmp_path / "noise.raw"
    noise.write_bytes(os.urandom(MIB))
    disks = (root, var, of(noise))
    before = [hashlib.sha256(Path(one.locator).read_bytes()).digest() for one in disks]
    looking = asyncio.create_task(look().look(disks, HERE))
    found = await asyncio.to_thread(begun, appliance)
    ours = Path("/proc/self/ns/net").readlink()
    assert found
    assert ours not in [process.joinpath("ns/net").readlink() for process in found]
    if os.geteuid() == 0:
        assert [process.stat().st_uid for process in found] == [confine.NOBODY]
    guest = await looking
    assert (guest.system, guest.release, guest.title, guest.hostname) == ("debian", "12", "Debian 12", "")
    assert [one.name for one in guest.packages] == ["bash", "xz-utils"]
    assert guest.unread == ("vdc",)
    assert [hashlib.sha256(Path(one.locator).read_bytes()).digest() for one in disks] == before
    assert running(appliance) == []


async def test_damaged_file_systems_end_in_a_word_and_never_in_a_wait(
    look: Callable[..., GuestLook], tmp_path: Path
):
    chance, disks = random.Random(7), list[DiskRef]()  # noqa: S311 - damage, not secrets
    for number in range(4):
        one = disk(
            tmp_path / f"{number}.raw", etc__hostname="web", var__lib__dpkg__status=DPKG.format(name="a")
        )
        text = bytearray(Path(one.locator).read_bytes())
        for _ in range(2000):
            text[chance.randrange(2 * KIB, MIB)] = chance.randrange(256)
        Path(one.locator).write_bytes(text)
        disks.append(one)
    told = (await asyncio.gather(look().look(tuple(disks), HERE), return_exceptions=True))[0]
    if isinstance(told, errors.Refused):
        assert told.code.startswith("inspect.")
    else:
        assert isinstance(told, Guest)
        assert {one.name for one in told.packages} <= {"a"}


@pytest.mark.parametrize("scan", [False, True])
async def test_an_appliance_that_tells_nothing_in_time_is_ended_by_name(
    appliance: Appliance, look: Callable[..., GuestLook], tmp_path: Path, scan: bool
):
    """A scan takes long: it has its own time, which begins when it is known what the guest is."""
    one = disk(tmp_path / "root.raw", etc__hostname="web")
    with pytest.raises(errors.Refused, match="within 0 s") as caught:
        await look(limit_s=0.2).look((one,), HERE, scan=scan)
    assert caught.value.code == "inspect.time.exceeded"
    assert running(appliance) == []


async def test_a_disk_behind_a_network_is_not_shown(look: Callable[..., GuestLook]):
    far = DiskRef(kind="nbd", locator="tcp:10.0.0.1:10809?export=a", size=MIB)
    with pytest.raises(errors.Refused) as caught:
        await look().look((far,), HERE)
    assert caught.value.code == "inspect.disk.kind"


async def test_without_an_appliance_the_remedy_names_the_command(tmp_path: Path):
    tool = inspecting(tmp_path)
    with pytest.raises(errors.Refused, match="inspection appliance") as caught:
        await GuestLook(LocalHost(inspecting=tool), tool).ready(HERE)
    assert "crossport inspector build" in caught.value.remedy
