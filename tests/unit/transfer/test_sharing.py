"""Content that the target's host has from elsewhere is not sent, and nothing is believed of it."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import KEY, Copy, Wire

from crossport import errors, merkle
from crossport.testing.conformance.block import noise
from crossport.testing.faulty_disk import FullWriter
from crossport.testing.mover import slow_root
from crossport.transfer.chunk import Cut
from crossport.transfer.frame import Verdict
from crossport.transfer.names import BLOCK, Names
from crossport.transfer.offers import PATIENCE_S, Found, Offers, Room
from crossport.transfer.stock import Stock
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import LIVE_S, SEGMENT
from crossport.transfer.stocks import Stocks

CHUNK = 64 << 10
COUNT = 24
BASE = noise(COUNT * CHUNK)


def root_of(content: bytes) -> bytes:
    return slow_root([content[at : at + CHUNK] for at in range(0, len(content), CHUNK)])


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Access]:
    with Stocks(tmp_path, 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        yield access


@pytest.fixture
def known_stock(stock: Access) -> tuple[Stock, bytes]:
    """A stock with one chunk whose blocks can be found."""
    opened, content = Stock(stock, Names(KEY), time.monotonic, os.urandom), BASE[:CHUNK]
    opened.names_blocks = True
    opened.put(Names(KEY).name(merkle.leaf(content)), content, None)
    return opened, content


def copy_of(content: bytes, stock: Access | None) -> Copy:
    copy = Copy(content)
    copy.wire = Wire(idle_s=30.0)  # a machine that stands still must not break it: then all is offered twice
    copy.sends, copy.expects = (replace(said, chunk_size=CHUNK) for said in (copy.sends, copy.expects))
    copy.stock = stock
    return copy


def copied(content: bytes, stock: Access | None) -> Copy:
    """Copy a disk; whatever is shared, it arrives as it is."""
    copy = copy_of(content, stock)
    assert copy.run() == (root_of(content), root_of(content))
    assert copy.target() == content
    return copy


def sent(copy: Copy) -> int:
    return copy.meters[0].counters.sent


def test_the_first_copy_offers_nothing_and_the_second_sends_nothing(stock: Access) -> None:
    first, second = copied(BASE, stock), copied(BASE, stock)
    assert first.meters[0].counters.offered == first.meters[1].counters.shared == 0
    assert sent(first) > len(BASE)
    assert sent(second) < 4096
    assert second.meters[0].counters.offered == second.meters[1].counters.shared == len(BASE)
    assert second.meters[1].counters.written == len(BASE)


def test_of_a_chunk_in_which_blocks_differ_only_these_are_sent(stock: Access) -> None:
    copied(BASE, stock)
    changed = bytearray(BASE)
    for block in (3, 40, 41, 200):
        changed[block * BLOCK : (block + 1) * BLOCK] = noise(BLOCK, str(block))
    copy = copied(bytes(changed), stock)
    assert 4 * BLOCK < sent(copy) < 4 * BLOCK + 8192
    assert copy.meters[1].counters.shared == len(BASE) - 4 * BLOCK


def test_the_same_blocks_at_other_places_are_found(stock: Access) -> None:
    copied(BASE, stock)
    moved = noise(5 * BLOCK, "new") + BASE[: -5 * BLOCK]
    copy = copied(moved, stock)
    assert sent(copy) < 5 * BLOCK + 16384
    assert copy.meters[1].counters.shared == len(BASE) - 5 * BLOCK


def test_chunks_that_came_in_this_copy_are_not_sent_twice(stock: Access) -> None:
    copied(noise(CHUNK, "any"), stock)
    twice = BASE + BASE
    assert sent(copied(twice, stock)) < len(BASE) + 32768


def test_a_disk_of_an_odd_size_is_shared_too(stock: Access) -> None:
    odd = BASE[: 5 * CHUNK + 7 * BLOCK + 123]
    copied(odd, stock)
    assert sent(copied(odd, stock)) < 4096
    assert sent(copied(odd[: 5 * CHUNK + 5000], stock)) < 8192


blocks = st.integers(0, 12).map(lambda seed: bytes(BLOCK) if not seed else noise(BLOCK, str(seed)))
disks = st.lists(blocks, min_size=1, max_size=60).map(b"".join)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=disks, second=disks, tail=st.binary(max_size=30))
def test_any_disk_arrives_as_it_is_whatever_lies_on_the_stock(
    stock: Access, first: bytes, second: bytes, tail: bytes
) -> None:
    copied(first, stock)
    copied(second + tail, stock)


def test_a_stock_that_lies_costs_bytes_and_nothing_else(stock: Access, tmp_path: Path) -> None:
    copied(BASE, stock)
    chunks = next(tmp_path.glob("*/chunks"))
    raw = bytearray(chunks.read_bytes())
    for at in range(100, len(raw), 3 * CHUNK):
        raw[at] ^= 1
    chunks.write_bytes(raw)
    copy = copied(BASE, stock)
    assert 0 < copy.meters[1].counters.shared < len(BASE)


def test_a_table_full_of_noise_costs_bytes_and_nothing_else(stock: Access, tmp_path: Path) -> None:
    copied(BASE, stock)
    table = next(tmp_path.glob("*/table"))
    raw = table.read_bytes()
    table.write_bytes(raw[:4096] + noise(len(raw) - 4096))
    copied(BASE, stock)


def test_a_ring_that_came_round_keeps_what_is_new(stock: Access) -> None:
    disks = [noise(60 * CHUNK, str(number)) for number in range(8)]
    for disk in disks:
        copied(disk, stock)
    assert sent(copied(disks[-1], stock)) < len(disks[-1]) // 2
    copied(disks[0], stock)


def test_another_tenant_gets_no_byte_and_sees_no_difference(tmp_path: Path) -> None:
    """It holds the very digests of what lies in the stock of the first, and its key is another."""
    seen = list[tuple[int, ...]]()
    for there in (False, True):
        stocks = Stocks(tmp_path / str(there), 2 * SEGMENT)
        with stocks.opened("acme") as theirs, stocks.opened("evil") as own:
            if there:
                copied(BASE, theirs)
            copy = copy_of(BASE, own)
            copy.key = bytes(reversed(copy.key))
            assert copy.run() == (root_of(BASE), root_of(BASE))
            sender, receiver = (meter.counters for meter in copy.meters)
            seen.append((sender.offered, receiver.shared, receiver.present, receiver.written))
            assert sender.sent > len(BASE)
    assert seen[0] == seen[1] == (0, 0, 0, len(BASE))


def test_content_lies_sealed_and_its_key_goes_with_the_stock(tmp_path: Path) -> None:
    stocks = Stocks(tmp_path, 2 * SEGMENT)
    with stocks.opened("acme") as access:
        copied(b"a very secret word " * 50_000, access)
        copied(BASE, access)
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in raw
    assert BASE[:64] not in raw
    Stocks(tmp_path, 0).tidy()
    assert not list(tmp_path.glob("*/*"))


def test_a_full_target_ends_a_copy_that_is_filled_from_the_stock(stock: Access) -> None:
    copied(BASE, stock)
    copy = copy_of(BASE, stock)
    copy.writer = FullWriter(copy.writer, 2 * CHUNK)
    sender, receiver = copy.run()
    assert isinstance(receiver, errors.Error)
    assert receiver.code == "transfer.target.full"
    assert isinstance(sender, errors.Error)


class Gate:
    """A reader that waits before it gives what lies beyond a place, until it is let."""

    def __init__(self, copy: Copy, place: int) -> None:
        self.size = copy.reader.size
        self.reached, self.let = threading.Event(), threading.Event()
        self._reader, self._place = copy.reader, place
        self.extents = copy.reader.extents
        self.close = copy.reader.close

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Read, later."""
        if start + len(buffer) > self._place:
            self.reached.set()
            assert self.let.wait(20)
        self._reader.read_into(start, buffer)


def test_copies_side_by_side_share_what_they_get(tmp_path: Path) -> None:
    """All begin with nothing; each chunk crosses the wire about once."""
    content = noise(200 * CHUNK)
    with contextlib.ExitStack() as stack:
        copies = list[Copy]()
        for _ in range(4):
            access = stack.enter_context(Stocks(tmp_path, 8 * SEGMENT).opened("acme"))
            copies.append(copy_of(content, access))
        gate = Gate(copies[0], 64 * CHUNK)
        copies[0].reader = gate
        threads = [threading.Thread(target=copy.run) for copy in copies]
        threads[0].start()
        assert gate.reached.wait(20)
        for thread in threads[1:]:
            thread.start()
        gate.let.set()
        for thread in threads:
            thread.join(60)
        assert [copy.outcomes for copy in copies] == 4 * [
            {end: root_of(content) for end in ("sender", "receiver")}
        ]
        assert all(copy.target() == content for copy in copies)
        # On a link that is slower than memory it is about one copy.
        assert sum(sent(copy) for copy in copies) < 2 * len(content)


class Nowhere:
    """A place that takes whatever is offered."""

    def take(self, first: int, count: int) -> None:
        """Take it."""

    def write(self, index: int, content: bytes | memoryview) -> None:
        """Write nothing."""

    def keep(self, name: bytes, content: bytes | memoryview) -> None:
        """Keep nothing."""


def found_in(stock: Stock) -> Found:
    return Found(stock, Room(1 << 20), lambda: None, lambda size: None)


def test_what_is_wanted_later_is_looked_for_only_after_the_sender_was_told_so(tmp_path: Path) -> None:
    names, content = Names(KEY), BASE[:CHUNK]
    name = names.name(merkle.leaf(content))
    stocks = Stocks(tmp_path, 2 * SEGMENT)
    with stocks.opened("acme") as ours, stocks.opened("acme") as theirs:
        assert ours is not None
        assert theirs is not None
        mine, other = (Stock(access, names, time.monotonic, os.urandom) for access in (ours, theirs))
        other.table.begin()
        assert other.table.claim(name)
        offers = Offers(found_in(mine), names, Cut(CHUNK, CHUNK), Nowhere())
        assert offers.take(0, name, 0.0) == bytes([Verdict.LATER])
        other.put(name, content, None)
        assert offers.look_again(0.0) == []
        offers.told()
        assert offers.look_again(0.0) == [(0, bytes([Verdict.FILLED]))]
        assert offers.same(0) == merkle.leaf(content)


def test_what_another_copy_does_not_bring_is_wanted_after_all(tmp_path: Path) -> None:
    names, name, now = Names(KEY), bytes(range(16)), [100.0]
    stocks = Stocks(tmp_path, 2 * SEGMENT)
    with stocks.opened("acme") as ours, stocks.opened("acme") as theirs:
        assert ours is not None
        assert theirs is not None
        mine, other = (Stock(access, names, lambda: now[0], os.urandom) for access in (ours, theirs))
        other.table.begin()
        for index, ends in enumerate(("it ends", "it dies", "it is slow", "it gives up")):
            other.table.begin()
            assert other.table.claim(name)
            offers = Offers(found_in(mine), names, Cut(4 * CHUNK, CHUNK), Nowhere())
            assert offers.take(index, name, now[0]) == bytes([Verdict.LATER])
            offers.told()
            assert offers.look_again(now[0]) == []
            if ends == "it ends":
                other.table.end()
            elif ends == "it dies":
                now[0] += LIVE_S + 1
            elif ends == "it is slow":
                now[0] += PATIENCE_S + 1
                other.table.beat()
            else:
                other.table.give_up(name)
            assert offers.look_again(now[0]) == [(index, bytes([Verdict.WHOLE]))]


def test_as_long_as_other_copies_bring_something_the_rest_is_waited_for(tmp_path: Path) -> None:
    names, stocks = Names(KEY), Stocks(tmp_path, 2 * SEGMENT)
    contents = [BASE[at : at + CHUNK] for at in range(0, 2 * CHUNK, CHUNK)]
    first, second = (names.name(merkle.leaf(content)) for content in contents)
    with stocks.opened("acme") as ours, stocks.opened("acme") as theirs:
        assert ours is not None
        assert theirs is not None
        mine, other = (Stock(access, names, lambda: 100.0, os.urandom) for access in (ours, theirs))
        other.table.begin()
        assert other.table.claim(first)
        assert other.table.claim(second)
        offers = Offers(found_in(mine), names, Cut(2 * CHUNK, CHUNK), Nowhere())
        assert offers.take(0, first + second, 0.0) == bytes([Verdict.LATER] * 2)
        offers.told()
        other.put(first, contents[0], None)
        assert offers.look_again(PATIENCE_S - 1) == [(0, bytes([Verdict.FILLED]))]
        assert offers.look_again(2 * PATIENCE_S - 2) == []
        assert offers.look_again(2 * PATIENCE_S) == [(1, bytes([Verdict.WHOLE]))]


def test_without_room_for_parts_chunks_are_wanted_whole(known_stock: tuple[Stock, bytes]) -> None:
    stock, known = known_stock
    names, changed = Names(KEY), known[:BLOCK] + noise(CHUNK - BLOCK, "new")
    name = names.name(merkle.leaf(changed))
    wanted = dict[int, bytes]()
    for room in (0, CHUNK):
        found = Found(stock, Room(room), lambda: None, lambda size: None)
        offers = Offers(found, names, Cut(CHUNK, CHUNK), Nowhere())
        assert offers.take(0, name, 0.0) == bytes([Verdict.BLOCKS])
        wanted[room] = offers.blocks(0, b"".join(names.blocks(changed)))
    assert wanted == {0: b"\xff\xff", CHUNK: b"\xfe\xff"}
