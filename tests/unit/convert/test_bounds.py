"""What an inspection costs: a second of an ordinary machine and 64 MiB at most, whatever an image or a
package claims; and no change of a sound one makes it raise.

Large images are sparse: a few pieces in a file of any size. Of them the bytes that are read are counted,
since tracing millions of entries takes long.
"""

import random
import struct
import time
import tracemalloc
import uuid
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.pace import slower

from crossport.convert.inspect import inspect
from crossport.convert.inspection import Format, Inspection
from crossport.convert.ova import archive_members
from crossport.convert.ovf_read import MAX_DESCRIPTOR, read_descriptor
from crossport.convert.reader import BytesReader, Reader, Truncated
from crossport.testing import images
from crossport.units import KIB, MIB, SECTOR, TIB

MOST_S = 1.0
MOST_MEMORY = 64 * MIB
# The inspector's two levels of tables, and the 8 MiB that the second inspector looks at.
MOST_READ = 40 * MIB


class Sparse:
    """A file of ``size`` bytes that holds ``pieces`` and zeros."""

    def __init__(self, size: int, pieces: Mapping[int, bytes]) -> None:
        self.size = size
        self.read = 0
        self._pieces = pieces

    def read_at(self, start: int, size: int, what: str = "data") -> bytes:
        if start < 0 or size < 0 or start + size > self.size:
            raise Truncated(what, start + size, self.size)
        self.read += size
        content = bytearray(size)
        for place, piece in self._pieces.items():
            first, last = max(place, start), min(place + len(piece), start + size)
            if first < last:
                content[first - start : last - start] = memoryview(piece)[first - place : last - place]
        return bytes(content)


def table(kind: str, entries: "range | list[int]", *, big: bool) -> bytes:
    packed = array(kind, entries)
    if big:
        packed.byteswap()
    return packed.tobytes()


def qcow2_first_level(count: int, bits: int) -> Sparse:
    cluster, place = 1 << bits, 16 * MIB
    facts = {"cluster_bits": bits, "size": TIB, "l1_count": count, "l1_start": place}
    head = images.qcow2(header={**facts, "refcount_start": cluster})[:SECTOR]
    first = 256 * MIB
    l1 = table("Q", range(first, first + count * cluster, cluster), big=True)
    return Sparse(60 * TIB, {0: head, place: l1})


def qcow2_full(tables: int) -> Sparse:
    cluster, width, first, data = 65536, 8192, 32 * MIB, 1 << 30
    facts = {"size": tables * width * cluster, "l1_count": tables, "l1_start": 16 * MIB}
    l1 = table("Q", range(first, first + tables * cluster, cluster), big=True)
    pieces = {0: images.qcow2(header=facts)[:cluster], 16 * MIB: l1}
    order = random.Random(1)  # noqa: S311 - test data
    places = list(range(data, data + tables * width * cluster, cluster))
    order.shuffle(places)
    return Sparse(data + tables * width * cluster, {**pieces, first: table("Q", places, big=True)})


def vmdk_directory(count: int) -> Sparse:
    capacity = count * 512 * 128
    text = images.descriptor("monolithicSparse", f'RW {capacity} SPARSE "d.vmdk"')
    head = images.vmdk(header={"capacity": capacity, "directory": 2048}, text=text)[: 21 * SECTOR]
    places = table("I", range(1 << 24, (1 << 24) + 4 * count, 4), big=False)
    return Sparse(60 * TIB, {0: head, MIB: places})


def vdi_map(count: int) -> Sparse:
    head = images.vdi(header={"count": count, "size": count << 20, "data": 1 << 30})[:SECTOR]
    return Sparse((count << 20) + (1 << 31), {0: head, SECTOR: table("I", range(count), big=False)})


def vhd_table(count: int) -> Sparse:
    size = count * (2 * MIB + SECTOR) + (1 << 31)
    whole = images.vhd(footer={"size": count * 2 * MIB}, header={"count": count, "block": 2 * MIB})
    places = table("I", range(1 << 20, (1 << 20) + 4097 * count, 4097), big=True)
    return Sparse(size, {0: whole[:1536], 1536: places, size - SECTOR: whole[-SECTOR:]})


def vhdx_table(count: int) -> Sparse:
    regions = (("bat", 1 << 32, 128 * MIB), ("metadata", 3 * MIB, MIB))
    places = table("Q", range(1 << 34 | 6, (1 << 34 | 6) + (count << 20), 1 << 20), big=False)
    return Sparse(60 * TIB, {0: images.vhdx(size=count << 20, regions=regions), 1 << 32: places})


def vhdx_regions(count: int) -> Reader:
    entries = [uuid.UUID(int=n + 1).bytes_le + struct.pack("<QII", MIB, MIB, 0) for n in range(count)]
    content = bytearray(images.vhdx())
    for place in (192 * KIB, 256 * KIB):
        regions = b"regi" + struct.pack("<III", 0, count, 0) + b"".join(entries)
        content[place : place + len(regions)] = regions
    return BytesReader(bytes(content))


def described(setting: bytes) -> Reader:
    return BytesReader(images.vmdk(text=setting[: 20 * SECTOR]))


LARGE: dict[str, Callable[[], Sparse]] = {
    "qcow2 with all of a first level": lambda: qcow2_first_level(1 << 22, 9),
    "qcow2 with large clusters": lambda: qcow2_first_level(1 << 20, 21),
    "qcow2 full": lambda: qcow2_full(64),
    "vmdk directory": lambda: vmdk_directory(1 << 20),
    "vdi map": lambda: vdi_map(4 << 20),
    "vhd table": lambda: vhd_table(1_000_000),
    "vhdx table": lambda: vhdx_table(8 << 20),
}
SMALL: dict[str, Callable[[], Reader]] = {
    "empty lines": lambda: BytesReader(b"\n" * 50),
    "many empty lines": lambda: BytesReader(b"\n" * 100_000),
    "lines of blanks and comments": lambda: BytesReader(b"# \n \n\t\n" * 2000),
    "descriptor of blanks": lambda: described(b"a=" + b" " * 9000 + b'"x"y'),
    "descriptor of digits": lambda: described(b"RW " + b"9" * 9000),
    "descriptor of extents": lambda: described(b"RW 1 S\n" * 1400),
    "vhdx regions": lambda: vhdx_regions(2047),
}
TEXTS = {
    "wide": b"<a>" + b"<a/>" * 260_000 + b"</a>",
    "deep": b"<a>" * 149_000 + b"</a>" * 149_000,
    "attributes": b"<a " + b" ".join(b"a%x=''" % number for number in range(100_000)) + b"/>",
    "one long text": b"<a>" + b" " * 1_000_000 + b"</a>",
}


def bounded(made: Callable[[], object]) -> None:
    """Assert that a call takes neither long nor much memory."""
    started = time.thread_time()
    made()
    assert time.thread_time() - started < MOST_S * slower()
    tracemalloc.start()
    try:
        made()
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(SMALL))
def test_no_small_image_takes_long_or_much_memory(name: str) -> None:
    reader = SMALL[name]()
    bounded(lambda: inspect(reader))


@pytest.mark.parametrize("name", list(LARGE))
def test_no_large_image_takes_long_or_is_read_far(name: str) -> None:
    reader = LARGE[name]()
    started = time.thread_time()
    inspect(reader)
    assert time.thread_time() - started < MOST_S * slower()
    assert reader.read < MOST_READ


@pytest.mark.parametrize("name", list(TEXTS))
def test_no_descriptor_takes_long_or_much_memory(name: str) -> None:
    assert len(TEXTS[name]) <= MAX_DESCRIPTOR
    bounded(lambda: read_descriptor(TEXTS[name]))


CHANGES = some.lists(
    some.one_of(
        some.tuples(some.just("cut"), some.integers(0, 1 << 20), some.just(0)),
        some.tuples(some.just("flip"), some.integers(0, 1 << 20), some.integers(0, 7)),
        some.tuples(some.just("byte"), some.integers(0, 2047), some.integers(0, 255)),
        some.tuples(some.just("field"), some.integers(0, 2047), some.integers(0, (1 << 64) - 1)),
        some.tuples(some.just("grown"), some.integers(0, 2047), some.integers(1, 1 << 12)),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """Return ``content`` after ``changes``: cut, a bit or byte or field replaced, bytes put in between."""
    made = bytearray(content)
    for what, at, value in changes:
        place = at % max(len(made) - 8, 1)
        match what:
            case "cut":
                del made[place:]
            case "flip" if made:
                made[place] ^= 1 << value
            case "byte" if made:
                made[place] = value
            case "field" if len(made) >= 8:
                struct.pack_into("<Q", made, place, value)
            case "grown":
                made[place:place] = bytes([value & 255]) * value
            case _:
                pass
    return bytes(made)


WHOLE = [images.qcow2(), images.vmdk(), images.vmdk_stream(), images.vhd(), images.vhd_fixed(), images.vdi()]


@settings(max_examples=100, deadline=None)
@given(whole=some.sampled_from(WHOLE), changes=CHANGES)
def test_no_changes_of_an_image_make_an_inspection_raise(
    whole: bytes, changes: list[tuple[str, int, int]]
) -> None:
    assert isinstance(inspect(BytesReader(changed(whole, changes))), Inspection)
    assert inspect(BytesReader(changed(whole, changes)), stated=Format.RAW).format in {Format.RAW, None}


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_no_changes_of_a_package_make_its_reading_raise(changes: list[tuple[str, int, int]]) -> None:
    reader = BytesReader(changed(images.ova(), changes))
    members, _ = archive_members(Path("web.ova"), reader)
    assert all(member.start + member.size <= reader.size for member in members.values())
    read_descriptor(changed(images.ovf(), changes))
