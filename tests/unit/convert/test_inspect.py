"""What an inspection says about sound and odd images, and that no byte sequence makes it raise or run
long."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from crossport import errors
from crossport.convert.findings import CODES, finding, refuse
from crossport.convert.inspect import inspect
from crossport.convert.inspection import Format
from crossport.convert.reader import BytesReader, SliceReader, Truncated
from crossport.hypervisor.qemu_img import progress_of
from crossport.model.finding import Severity
from crossport.testing import images
from crossport.testing.hostile import ATTACKS

HEADS = [images.qcow2(), images.vmdk(), images.vmdk_stream(), images.vhd(), images.vdi()]


def codes(content: bytes, stated: Format | None = None) -> list[str]:
    return [each.code for each in inspect(BytesReader(content), stated=stated).findings]


def test_a_raw_disk_with_a_boot_sector_is_raw() -> None:
    disk = b"\xeb\x63\x90".ljust(510, b"\0") + b"\x55\xaa" + bytes(4096)
    found = inspect(BytesReader(disk))
    assert (found.format, found.virtual_size, found.findings) == (Format.RAW, 4608, ())


def test_a_raw_disk_of_odd_length_ends_with_a_whole_sector() -> None:
    found = inspect(BytesReader(b"\x01" * 1000))
    assert found.virtual_size == 1024
    assert codes(b"\x01" * 1000) == ["image.raw.odd-length"]


def test_a_wrongly_stated_format_is_refused() -> None:
    assert codes(images.qcow2(), Format.VMDK) == ["image.format.mismatch"]
    assert codes(images.vmdk_stream(), Format.VMDK) == []


def test_a_raw_disk_that_looks_like_another_format_needs_a_decision() -> None:
    found = inspect(BytesReader(images.qcow2(backing=b"/etc/passwd")), stated=Format.RAW)
    assert found.format is Format.RAW
    assert [(each.code, each.severity) for each in found.findings] == [
        ("image.format.embedded", Severity.DECISION)
    ]


def test_internal_snapshots_and_an_unclean_end_are_warnings() -> None:
    content = images.qcow2(header={"snapshot_count": 2, "incompatible": 1})
    assert codes(content) == ["image.qcow2.dirty", "image.qcow2.internal-snapshots"]


def test_the_largest_accepted_size_can_be_told() -> None:
    found = inspect(BytesReader(images.qcow2()), limit=images.DISK_SIZE - 1)
    assert [each.code for each in found.blockers] == ["image.size.absurd"]


def test_texts_from_an_image_are_shortened_and_printable() -> None:
    found = inspect(BytesReader(images.qcow2(backing=b"\x1b[2J" + b"x" * 500)))
    assert "\x1b" not in found.findings[0].text
    assert len(found.findings[0].text) < 250


def test_the_second_inspector_is_asked_and_heard() -> None:
    # A descriptor line that our reader skips and that the other one does not know.
    text = images.descriptor("monolithicSparse", 'RW 2048 SPARSE "disk.vmdk"\nodd line')
    assert codes(images.vmdk(text=text)) == ["image.format.second-opinion"]


@settings(max_examples=300, deadline=None)
@given(
    head=some.sampled_from(HEADS),
    at=some.integers(0, 2047),
    value=some.sampled_from([0, 1, 0x7F, 0xFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]),
)
def test_no_field_makes_an_inspection_raise_or_run_long(head: bytes, at: int, value: int) -> None:
    content = bytearray(head)
    struct.pack_into("<Q", content, at, value)
    inspect(BytesReader(bytes(content)))


@settings(max_examples=60, deadline=None)
@given(at=some.integers(0, (3 << 20) + 65536 + 200), value=some.integers(0, (1 << 64) - 1))
def test_no_field_of_a_vhdx_makes_an_inspection_raise(at: int, value: int) -> None:
    content = bytearray(images.vhdx())
    struct.pack_into("<Q", content, at, value)
    inspect(BytesReader(bytes(content)))


@given(content=some.binary(max_size=2000))
def test_no_bytes_make_an_inspection_raise(content: bytes) -> None:
    inspect(BytesReader(content))


def test_a_refusal_names_every_blocker_and_each_remedy_once() -> None:
    found = [finding("image.qcow2.corrupt"), finding("image.vhdx.parent"), finding("image.vhdx.parent")]
    with pytest.raises(errors.Refused) as caught:
        refuse(found, "disk.img")
    assert caught.value.code == "image.qcow2.corrupt"
    assert "image.vhdx.parent" in caught.value.text
    assert caught.value.remedy.count("Merge it") == 1
    assert caught.value.field == "disk.img"


def test_a_decision_stops_until_it_is_accepted() -> None:
    found = [finding("ova.manifest.missing")]
    with pytest.raises(errors.Blocked):
        refuse(found, "web.ova")
    refuse(found, "web.ova", accept={"ova.manifest.missing"})


def test_every_code_that_stops_has_a_remedy_and_every_attack_a_known_code() -> None:
    for code, (severity, _, remedy) in CODES.items():
        assert remedy or severity is Severity.INFO, code
    assert {attack.code for attack in ATTACKS.values()} <= set(CODES)


def test_a_part_of_a_reader_ends_where_it_ends() -> None:
    part = SliceReader(BytesReader(bytes(range(100))), 10, 20)
    assert part.read_at(0, 3) == bytes([10, 11, 12])
    with pytest.raises(Truncated):
        part.read_at(15, 10)


@pytest.mark.parametrize(
    ("printed", "share"),
    [
        (b"    (12.50/100%)\r", 0.125),
        (b"(1.00/100%)\r    (100.00/100%)\r", 1.0),
        (b"nothing", None),
        (b"", None),
    ],
)
def test_the_progress_that_qemu_img_prints_becomes_a_share(printed: bytes, share: float | None) -> None:
    assert progress_of(printed) == share
