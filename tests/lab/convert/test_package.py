"""Packages out and in again: OVF and OVA, versions 1 and 2, with real conversion of every disk."""

import dataclasses
import hashlib
import random
import tarfile
from pathlib import Path

import pytest

from crossport import errors
from crossport.convert.appliance import Appliance, ApplianceDisk, ApplianceNic
from crossport.convert.formats import Source
from crossport.convert.inspection import Format
from crossport.convert.package import export_package, import_package, inspect_file
from crossport.model.vm import DiskBus, Firmware, NicModel
from crossport.testing import images
from crossport.units import MIB, SECTOR

SIZES = (3 * MIB, MIB + SECTOR)
APPLIANCE = Appliance(
    name="web <1> & co",
    cpus=2,
    memory=512 * MIB,
    firmware=Firmware.UEFI,
    disks=(
        ApplianceDisk("disk1", SIZES[0]),
        ApplianceDisk("disk2", SIZES[1], bus=DiskBus.SATA),
    ),
    nics=(
        ApplianceNic("front", "52:54:00:12:34:56"),
        ApplianceNic("back", "52:54:00:12:34:57", NicModel.E1000),
    ),
    annotation="two lines\n& more",
    properties={"role": "web", "quoted": 'a "b"'},
)


@pytest.fixture
def disks(tmp_path: Path) -> list[Source]:
    noise = random.Random(7).randbytes  # noqa: S311 - test data
    sources: list[Source] = []
    for number, size in enumerate(SIZES):
        path = tmp_path / f"source{number}.raw"
        path.write_bytes((noise(MIB // 2).ljust(size - 100, b"\0") + noise(100))[:size])
        sources.append(Source(path, Format.RAW))
    return sources


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".ova", ".ovf"])
async def test_what_is_exported_is_imported_as_the_same_machine(
    suffix: str, version: int, disks: list[Source], tmp_path: Path
) -> None:
    package = tmp_path / "out" / f"web{suffix}"
    package.parent.mkdir()
    await export_package(APPLIANCE, disks, package, version=version)
    steps: list[str] = []
    done = await import_package(
        package, tmp_path / "in", kind=Format.RAW, on_progress=lambda step, _share: steps.append(step)
    )
    assert [path.read_bytes() for path in done.disks] == [each.path.read_bytes() for each in disks]
    plain = dataclasses.replace(
        done.appliance,
        disks=tuple(
            dataclasses.replace(disk, file="", file_size=None, format="") for disk in done.appliance.disks
        ),
    )
    assert plain == APPLIANCE
    assert done.findings == ()
    assert [path.name for path in done.disks] == ["web-disk1.raw", "web-disk2.raw"]
    assert "manifest" in steps


async def test_an_ova_begins_with_its_descriptor_and_lists_sha256_of_every_file(
    disks: list[Source], tmp_path: Path
) -> None:
    package = await export_package(APPLIANCE, disks, tmp_path / "web.ova")
    with tarfile.open(package) as tar:
        names = tar.getnames()
        content = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
        assert all(member.isreg() and member.uid == 0 for member in tar.getmembers())
    assert names == ["web.ovf", "web.mf", "web-disk1.vmdk", "web-disk2.vmdk"]
    listed = dict(
        line.removeprefix("SHA256(").split(")= ") for line in content["web.mf"].decode().splitlines()
    )
    assert listed == {
        name: hashlib.sha256(data).hexdigest() for name, data in content.items() if name != "web.mf"
    }


async def test_one_changed_byte_of_a_disk_stops_the_import(disks: list[Source], tmp_path: Path) -> None:
    package = await export_package(APPLIANCE, disks, tmp_path / "web.ova")
    content = bytearray(package.read_bytes())
    content[content.index(b"KDMV") + 70_000] ^= 1
    package.write_bytes(bytes(content))
    with pytest.raises(errors.Refused) as caught:
        await import_package(package, tmp_path / "in")
    assert "ova.manifest.mismatch" in caught.value.text
    assert not (tmp_path / "in").exists()


async def test_a_package_without_a_manifest_is_imported_when_that_is_accepted(tmp_path: Path) -> None:
    package = tmp_path / "web.ova"
    package.write_bytes(images.ova(manifest=b""))
    with pytest.raises(errors.Blocked) as caught:
        await import_package(package, tmp_path / "in")
    assert caught.value.code == "ova.manifest.missing"
    done = await import_package(package, tmp_path / "in", accept={"ova.manifest.missing"})
    assert inspect_file(done.disks[0]).format is Format.QCOW2


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256", "SHA512"])
async def test_the_manifest_names_its_own_algorithm(algorithm: str, tmp_path: Path) -> None:
    files = {"web.ovf": images.ovf(), "disk.vmdk": images.vmdk_stream()}
    digests = {name: hashlib.new(algorithm.lower(), data).hexdigest() for name, data in files.items()}
    lines = "".join(f"{algorithm} ({name}) = {digest}\r\n" for name, digest in digests.items())
    package = tmp_path / "web.ova"
    package.write_bytes(images.ova(manifest=lines.encode()))
    done = await import_package(package, tmp_path / "in", kind=Format.RAW)
    codes = {each.code for each in done.findings}
    assert ("ova.manifest.weak" in codes) == (algorithm == "SHA1")
    assert done.disks[0].read_bytes() == images.DATA.ljust(images.DISK_SIZE, b"\0")


async def test_a_single_image_is_imported_too(disks: list[Source], tmp_path: Path) -> None:
    done = await import_package(disks[0].path, tmp_path / "in", kind=Format.VHDX)
    assert done.appliance.name == "source0"
    assert inspect_file(done.disks[0]).virtual_size == SIZES[0]


async def test_a_failed_import_leaves_no_disk_behind(tmp_path: Path) -> None:
    package, target = tmp_path / "web.ova", tmp_path / "in"
    # Sound to look at; its one compressed grain is not what its length says, which only the tool notices.
    disk = bytearray(images.vmdk_stream())
    disk[128 * SECTOR + 12 : 128 * SECTOR + 40] = bytes(28)
    package.write_bytes(images.ova(disk=bytes(disk)))
    with pytest.raises(errors.Broken) as caught:
        await import_package(package, target)
    assert caught.value.code == "hypervisor.qemu-img.failed"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("suffix", [".ova", ".ovf"])
async def test_what_was_verified_is_imported_though_its_name_means_another_file_by_then(
    suffix: str, disks: list[Source], tmp_path: Path
) -> None:
    package = tmp_path / f"web{suffix}"
    await export_package(APPLIANCE, disks, package)
    other = tmp_path / "other" / package.name
    other.parent.mkdir()
    await export_package(APPLIANCE, list(reversed(disks)), other)
    swapped = package if suffix == ".ova" else tmp_path / "web-disk1.vmdk"

    def swap(step: str, _share: float) -> None:
        if step == "disk 1 of 2":
            swapped.rename(tmp_path / "kept")
            (other.parent / swapped.name).rename(swapped)
        elif step == "disk 2 of 2":
            (tmp_path / "kept").rename(swapped)

    done = await import_package(package, tmp_path / "in", kind=Format.RAW, on_progress=swap)
    assert [path.read_bytes() for path in done.disks] == [each.path.read_bytes() for each in disks]


async def test_an_export_never_overwrites_and_leaves_nothing_when_it_cannot(
    disks: list[Source], tmp_path: Path
) -> None:
    target = tmp_path / "out" / "web.ovf"
    target.parent.mkdir()
    occupied = target.with_name("web-disk1.vmdk")
    occupied.write_text("precious")
    with pytest.raises(errors.Conflict) as caught:
        await export_package(APPLIANCE, disks, target)
    assert caught.value.code == "image.target.exists"
    assert list(target.parent.iterdir()) == [occupied]
    assert occupied.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "count", "code"),
    [
        ("web.zip", 2, "package.kind.unknown"),
        ("web.ova", 1, "package.disks.count"),
        ("-web.ova", 2, "package.name.unusable"),
    ],
)
async def test_an_export_that_cannot_be_is_refused_before_it_begins(
    name: str, count: int, code: str, disks: list[Source], tmp_path: Path
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await export_package(APPLIANCE, disks[:count], tmp_path / name)
    assert caught.value.code == code
    assert caught.value.field
