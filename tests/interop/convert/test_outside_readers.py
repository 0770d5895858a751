"""What we write is read by programs that know nothing of us: qemu-img, GNU tar, sha256sum.

The images that attacks are made of are checked too: an attack on an image that no tool opens proves nothing.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.formats import Source
from crossport.convert.inspection import Format
from crossport.convert.package import export_package
from crossport.testing import images
from crossport.units import MIB

SOUND: dict[str, tuple[str, Callable[[], bytes]]] = {
    "qcow2": ("qcow2", images.qcow2),
    "vmdk": ("vmdk", images.vmdk),
    "vmdk-stream": ("vmdk", images.vmdk_stream),
    "vhd": ("vpc", images.vhd),
    "vhd-fixed": ("vpc", images.vhd_fixed),
    "vhdx": ("vhdx", images.vhdx),
    "vdi": ("vdi", images.vdi),
}


def said(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", list(SOUND))
def test_qemu_reads_the_images_that_attacks_are_made_of(name: str, tmp_path: Path) -> None:
    driver, build = SOUND[name]
    (tmp_path / "image").write_bytes(build())
    facts = json.loads(said("qemu-img", "info", "--output=json", "-f", driver, "image", cwd=tmp_path))
    assert facts["virtual-size"] == images.DISK_SIZE
    said("qemu-img", "convert", "-f", driver, "-O", "raw", "image", "plain", cwd=tmp_path)
    assert (tmp_path / "plain").read_bytes() == images.DATA.ljust(images.DISK_SIZE, b"\0")


@pytest.mark.parametrize("version", [1, 2])
async def test_an_ova_is_unpacked_by_tar_verified_by_sha256sum_and_read_by_qemu(
    version: int, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"content".ljust(2 * MIB, b"\1"))
    appliance = Appliance("web", 1, 256 * MIB, disks=(ApplianceDisk("disk1", 2 * MIB),))
    await export_package(appliance, [Source(disk, Format.RAW)], tmp_path / "web.ova", version=version)
    assert said("tar", "--list", "--file", "web.ova", cwd=tmp_path).split() == [
        "web.ovf",
        "web.mf",
        "web-disk1.vmdk",
    ]
    said("tar", "--extract", "--file", "web.ova", cwd=tmp_path)
    said("sha256sum", "--check", "--strict", "web.mf", cwd=tmp_path)
    said("qemu-img", "convert", "-f", "vmdk", "-O", "raw", "web-disk1.vmdk", "plain", cwd=tmp_path)
    assert (tmp_path / "plain").read_bytes() == disk.read_bytes()
    facts = json.loads(said("qemu-img", "info", "--output=json", "web-disk1.vmdk", cwd=tmp_path))
    assert facts["format-specific"]["data"]["create-type"] == "streamOptimized"
