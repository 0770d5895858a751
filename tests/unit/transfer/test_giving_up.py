"""A copy that finds nothing stops offering soon, finds what lies further on, and leaves no other alone."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.transfer.copying import CHUNK, KEY, Copy, root_of

from crossport import merkle
from crossport.testing.conformance.block import noise
from crossport.transfer.names import Names
from crossport.transfer.prospect import IN_VAIN
from crossport.transfer.stock import Stock
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks

COUNT = 300
CONTENT = noise(COUNT * CHUNK)
NAMES = Names(KEY)


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Access]:
    """A stock of one chunk that is nowhere else."""
    with Stocks(tmp_path, 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        put(access, noise(CHUNK, "strange"))
        yield access


def put(access: Access, content: bytes) -> None:
    stock = Stock(access, NAMES, time.monotonic, os.urandom)
    for at in range(0, len(content), CHUNK):
        part = content[at : at + CHUNK]
        stock.put(NAMES.name(merkle.leaf(part)), part, None)


def copied(content: bytes, access: Access) -> Copy:
    copy = Copy(content)
    copy.stock = access
    assert copy.run() == (root_of(content), root_of(content))
    assert copy.target() == content
    return copy


def offered(copy: Copy) -> int:
    return copy.meters[0].counters.offered // CHUNK


def test_where_nothing_is_found_most_chunks_are_not_offered(stock: Access) -> None:
    copy = copied(CONTENT, stock)
    assert IN_VAIN <= offered(copy) < COUNT // 2
    assert copy.meters[1].counters.shared == 0


def test_what_is_known_is_found_behind_much_that_is_new(stock: Access) -> None:
    put(stock, CONTENT)
    copy = copied(noise(COUNT // 2 * CHUNK, "new") + CONTENT, stock)
    assert copy.meters[1].counters.shared > COUNT // 3 * CHUNK


def test_beside_another_copy_everything_is_offered_to_the_end(stock: Access, tmp_path: Path) -> None:
    with Stocks(tmp_path, 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        other = Stock(access, NAMES, time.monotonic, os.urandom)
        other.table.begin()
        copy = copied(CONTENT, stock)
        other.table.end()
    assert offered(copy) == COUNT
