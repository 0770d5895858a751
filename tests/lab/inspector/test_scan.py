"""All files of a guest go from its disks through the appliance to a real clamd. No guest is booted."""

import contextlib
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.interop.clamd.daemon import EICAR, SIGNATURE, running_clamd

from crossport import errors
from crossport.inspector import Appliance, Clamd, GuestLook
from crossport.model.artifact import DiskRef, Place
from crossport.transfer.confined import LocalHost, Tool
from crossport.units import KIB, MIB

pytestmark = pytest.mark.qemu

HERE = Place(cloud="beta", subnet="import", address="10.0.0.1")


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Clamd]:
    with running_clamd(tmp_path_factory.mktemp("clamd")) as place:
        yield Clamd(str(place))


def looking(appliance: Appliance, clamd: Clamd) -> GuestLook:
    async def tool() -> Tool:
        paths = (appliance.kernel, appliance.ram_disk)
        return Tool(module="crossport.inspector.worker", arguments=(*map(str, paths), "tcg"), read=paths)

    return GuestLook(LocalHost(inspecting=tool), tool, limit_s=100.0, scanner=clamd)


def disk(path: Path, files: dict[str, bytes]) -> DiskRef:
    tree = path.with_suffix(".d")
    for name, content in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (tree / "link").symlink_to("/proc/kcore")
    with socket.socket(socket.AF_UNIX) as left, contextlib.chdir(tree):
        left.bind("private")  # as mail servers leave behind: nothing that could be read is missing
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, path, "16M"], check=True, capture_output=True)
    return of(path)


def of(path: Path) -> DiskRef:
    path.chmod(0o644)
    return DiskRef(kind="file", locator=str(path), size=path.stat().st_size)


CLEAN = {
    "etc/os-release": b"ID=debian\n",
    "var/" + "deep/" * 40 + "file": b"x" * (300 * KIB),
    "boot/image": bytes(range(256)) * 12 * KIB,
    "empty": b"",
}


async def test_every_file_of_a_clean_guest_is_scanned_and_its_boot_loader_too(
    appliance: Appliance, clamd: Clamd, tmp_path: Path
):
    loader, swap = tmp_path / "loader.raw", tmp_path / "swap.raw"
    loader.write_bytes(b"\xeb\x63" * (512 * KIB))
    swap.write_bytes(bytes(4086) + b"SWAPSPACE2" + bytes(16 * MIB - 4096))
    disks = (disk(tmp_path / "root.raw", CLEAN), of(loader), of(swap))
    guest = await looking(appliance, clamd).look(disks, HERE, scan=True)
    assert (guest.system, guest.scanned, guest.unread) == ("debian", 4, ())


async def test_malware_on_the_second_disk_is_named_with_its_file(
    appliance: Appliance, clamd: Clamd, tmp_path: Path
):
    disks = (
        disk(tmp_path / "root.raw", CLEAN),
        disk(tmp_path / "data.raw", {"home/web/Invoice 7.exe": EICAR}),
    )
    with pytest.raises(errors.Refused) as caught:
        await looking(appliance, clamd).look(disks, HERE, scan=True)
    assert caught.value.code == "image.malware"
    assert "1/home/web/Invoice 7.exe" in caught.value.text
    assert SIGNATURE in caught.value.text
