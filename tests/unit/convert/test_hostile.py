"""Every attack of the table is refused with its code before any tool runs; the sound material it is made of
passes.

No tool can run here: the import is given one that fails the test if it is called.
"""

import dataclasses
import time
from pathlib import Path

import pytest
from tests.pace import slower

from crossport import errors
from crossport.convert.inspect import inspect
from crossport.convert.inspection import Format
from crossport.convert.package import import_package, inspect_package
from crossport.convert.reader import BytesReader
from crossport.hypervisor.qemu_img import QemuImg
from crossport.model.finding import Severity
from crossport.testing import images
from crossport.testing.hostile import ATTACKS
from crossport.testing.images import DISK_SIZE

SOUND = {
    Format.QCOW2: images.qcow2,
    Format.VMDK: images.vmdk,
    Format.VMDK_STREAM: images.vmdk_stream,
    Format.VHD: images.vhd,
    Format.VHD_FIXED: images.vhd_fixed,
    Format.VHDX: images.vhdx,
    Format.VDI: images.vdi,
    Format.RAW: lambda: images.DATA.ljust(DISK_SIZE, b"\0"),
}

NO_TOOL = dataclasses.replace(QemuImg(), program="/nonexistent/no-tool-may-run-here")


@pytest.mark.parametrize("kind", list(Format))
def test_the_sound_image_that_attacks_are_made_of_passes(kind: Format) -> None:
    found = inspect(BytesReader(SOUND[kind]()))
    assert found.format is kind
    assert found.virtual_size == DISK_SIZE
    assert found.findings == ()


def test_the_sound_package_that_attacks_are_made_of_passes(tmp_path: Path) -> None:
    path = tmp_path / "web.ova"
    path.write_bytes(images.ova())
    package = inspect_package(path)
    assert {each.severity for each in package.findings} <= {Severity.WARNING}
    assert package.appliance.name == "web"
    assert [image.virtual_size for _, _, image in package.disks] == [DISK_SIZE]


@pytest.mark.parametrize("name", list(ATTACKS))
async def test_every_attack_is_refused_with_its_code_before_a_tool_sees_it(name: str, tmp_path: Path) -> None:
    canary, target = tmp_path / "canary", tmp_path / "target"
    canary.write_bytes(b"CANARY" * 1000)
    path = ATTACKS[name].write(tmp_path, canary)
    started = time.process_time()
    with pytest.raises((errors.Refused, errors.Blocked)) as caught:
        await import_package(path, target, tool=NO_TOOL)
    # Every blocker is in the text, so that a person can see them all.
    assert f"({ATTACKS[name].code})" in caught.value.text
    assert caught.value.remedy
    assert "CANARY" not in str(caught.value)
    assert not target.exists()
    assert time.process_time() - started < 2 * slower()


@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith("vmdk-padded")])
def test_a_padded_descriptor_is_refused_even_when_stated_to_be_raw(name: str, tmp_path: Path) -> None:
    content = ATTACKS[name].content(tmp_path / "canary")
    found = inspect(BytesReader(content), stated=Format.RAW)
    assert [each.code for each in found.blockers] == ["image.raw.text-descriptor"]


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.RAW])
def test_an_image_cut_anywhere_gives_a_finding_and_never_an_exception(kind: Format) -> None:
    whole = SOUND[kind]()
    for size in sorted({0, 1, 63, 64, 100, 511, 512, 513, 1024, len(whole) // 2, len(whole) - 512}):
        found = inspect(BytesReader(whole[:size]))
        stops = {Severity.BLOCKER, Severity.DECISION} & {each.severity for each in found.findings}
        assert stops or found.format is Format.RAW, size
