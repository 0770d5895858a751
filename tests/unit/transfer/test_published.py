"""What a published image has at the same place is not sent, and is hashed before it is used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import KEY, Copy
from tests.unit.transfer.test_sharing import BASE, CHUNK, copy_of, root_of, sent

from crossport import errors, merkle
from crossport.model.artifact import Extent
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer.chunk import Cut
from crossport.transfer.names import BLOCK, Names
from crossport.transfer.published import LOOKS, Published
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks


class Image:
    """An image in memory that counts how often it was read, and can fail."""

    def __init__(self, content: bytes, *, more: int = 0, fails_after: int = 1 << 30) -> None:
        disks = MemoryDisks()
        self._disk = disks.open_reader(disks.create("a/image", len(content) + more, content))
        self._fails_after = fails_after
        self.size = len(content) + more
        self.reads = 0

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """As the disk."""
        return self._disk.extents(start, size)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Read, or fail."""
        self.reads += 1
        if self.reads > self._fails_after:
            raise errors.Unavailable("nbd.connection.lost", "It is gone.")
        self._disk.read_into(start, buffer)

    def close(self) -> None:
        """Close the disk."""
        self._disk.close()


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Access]:
    with Stocks(tmp_path, 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        yield access


def copied(content: bytes, stock: Access, *images: Image) -> Copy:
    copy = copy_of(content, stock)
    copy.published = list(images)
    assert copy.run() == (root_of(content), root_of(content))
    assert copy.target() == content
    return copy


def changed(content: bytes, *blocks: int) -> bytes:
    found = bytearray(content)
    for block in blocks:
        found[block * BLOCK : (block + 1) * BLOCK] = noise(BLOCK, f"changed {block}")
    return bytes(found)


def test_a_disk_made_from_a_published_image_is_not_sent(stock: Access) -> None:
    copy = copied(BASE, stock, Image(BASE))
    assert sent(copy) < 4096
    assert copy.meters[1].counters.shared == len(BASE)


def test_of_a_chunk_that_changed_only_the_blocks_that_did_are_sent(stock: Access) -> None:
    blocks = (0, 3, 40, 41, 200)
    copy = copied(changed(BASE, *blocks), stock, Image(noise(CHUNK)), Image(BASE))
    assert len(blocks) * BLOCK < sent(copy) < len(blocks) * BLOCK + 8192


def test_a_disk_that_was_made_larger_than_its_image_has_it_too(stock: Access) -> None:
    image = BASE[: 5 * CHUNK + 7 * BLOCK + 512]
    whole = image + bytes(CHUNK - len(image) % CHUNK) + noise(CHUNK, "more")
    copy = copied(whole, stock, Image(image))
    assert CHUNK < sent(copy) < CHUNK + 8192


def test_what_an_image_has_is_not_put_in_the_stock_again(stock: Access) -> None:
    copied(BASE, stock, Image(BASE))
    assert sent(copied(BASE, stock)) > len(BASE)


def test_an_image_that_has_nothing_of_the_disk_is_left_alone_soon(stock: Access) -> None:
    content = noise(4 * LOOKS * CHUNK, "other")
    image = Image(noise(len(content), "image"))
    copy = copied(content, stock, image)
    assert copy.meters[1].counters.shared == 0
    assert image.reads <= 2 * (LOOKS + 4)
    assert sent(copy) < len(content) * 1.02


def test_an_image_without_data_there_is_not_read_at_all(stock: Access) -> None:
    image = Image(b"", more=2 * len(BASE))
    copied(BASE, stock, image)
    assert image.reads == 0


def test_an_image_that_breaks_in_the_middle_costs_bytes_and_nothing_else(stock: Access) -> None:
    copy = copied(BASE, stock, Image(BASE, fails_after=6))
    assert 0 < copy.meters[1].counters.shared < len(BASE)


def test_another_tenant_for_whom_nothing_is_published_sees_no_difference(tmp_path: Path) -> None:
    seen = list[tuple[int, ...]]()
    for there in (False, True):
        stocks = Stocks(tmp_path / str(there), 2 * SEGMENT)
        with stocks.opened("acme") as theirs, stocks.opened("evil") as own:
            assert theirs is not None
            assert own is not None
            if there:
                copied(BASE, theirs, Image(BASE))
            sender, receiver = (meter.counters for meter in copied(BASE, own).meters)
            seen.append((sender.offered, receiver.shared, receiver.present, receiver.written))
    assert seen[0] == seen[1] == (0, 0, 0, len(BASE))


def test_an_image_of_which_whole_chunks_are_found_is_looked_at_for_longer() -> None:
    names, content = Names(KEY), noise(2 * CHUNK, "two")
    published = Published([Image(content)], Cut(len(content), CHUNK), names)
    first = content[:CHUNK]
    for _ in range(LOOKS - 1):
        assert published.chunk(1, bytes(16)) is None
    assert published.chunk(0, names.name(merkle.leaf(first))) is not None
    assert published.chunk(1, bytes(16)) is None
    assert published.may_have(1)


def test_no_block_is_looked_for_in_an_image_that_is_left_alone() -> None:
    names, content = Names(KEY), BASE[:CHUNK]
    image = Image(noise(CHUNK, "image"))
    published = Published([image, Image(BASE)], Cut(len(BASE), CHUNK), names)
    for _ in range(LOOKS):
        assert published.chunk(0, names.name(merkle.leaf(content))) is not None
    reads, missing = image.reads, list(range(CHUNK // BLOCK))
    assert published.fill(0, bytearray(CHUNK), b"".join(names.blocks(content)), missing) == []
    assert image.reads == reads


def test_an_image_found_useful_again_is_looked_at_again() -> None:
    names, content = Names(KEY), BASE[:CHUNK]
    published = Published([Image(BASE)], Cut(len(BASE), CHUNK), names)
    for _ in range(LOOKS - 1):
        assert published.chunk(0, bytes(16)) is None
    wanted = b"".join(names.blocks(content))
    filled = bytearray(CHUNK)
    assert published.fill(0, filled, wanted, list(range(CHUNK // BLOCK))) == []
    assert filled == content
    assert published.chunk(0, bytes(16)) is None  # the last look without what was found
    second = BASE[CHUNK : 2 * CHUNK]
    assert published.chunk(1, names.name(merkle.leaf(second))) == (second, merkle.leaf(second))


pieces = st.integers(0, 6).map(lambda seed: bytes(BLOCK) if not seed else noise(BLOCK, str(seed)))
disks = st.lists(pieces, min_size=1, max_size=60).map(b"".join)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=disks, images=st.lists(disks, min_size=1, max_size=3), tail=st.binary(max_size=30))
def test_any_disk_arrives_as_it_is_whatever_is_published(
    stock: Access, content: bytes, images: list[bytes], tail: bytes
) -> None:
    copied(content + tail, stock, *map(Image, images))
