"""Reading back a copy: what was read and was right is not read again, until it is written once more."""

import os
import tempfile
from collections.abc import Generator

import pytest

from crossport import merkle
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockWriter
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer.chunk import Cut, Run, root_of
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.proof import root_proven
from crossport.transfer.wrapper import Statistics

CHUNK = 64 << 10
COUNT = 100
CUT = Cut(COUNT * CHUNK - 7, CHUNK)
SUBJECT = {"run": "run-1", "identity": "volume-1"}


class Target:
    """A disk, and the journal of a copy to it."""

    def __init__(self, journal: int) -> None:
        self._disks = MemoryDisks()
        self._journal = journal
        self.ref: DiskRef = self._disks.create("b/target", CUT.size, b"")
        self.writer: BlockWriter = self._disks.open_writer(self.ref)
        self.store = LeafStore(journal, CUT, SUBJECT)
        self.store.commit([(Run(0, COUNT, zero=True), b"")])

    def write(self, index: int, text: bytes) -> None:
        """Write a chunk as a copy does."""
        content = text.ljust(CUT.length(index), b".")
        self.store.release(index, 1)
        self.writer.write(CUT.start(index), content)
        self.store.commit([(Run(index, 1, zero=False), merkle.leaf(content))])

    def read_back(self) -> int:
        """Read it back as another process does; return how many bytes were read, and see that it is right."""
        reader = Statistics(self._disks.open_reader(self.ref))
        with tempfile.TemporaryFile() as copy:
            copy.write(self.journal_bytes())
            copy.flush()
            root = root_proven(reader, LeafStore(copy.fileno(), CUT, SUBJECT))
            os.pwrite(self._journal, os.pread(copy.fileno(), 1 << 20, 0), 0)
        self.store = LeafStore(self._journal, CUT, SUBJECT)
        assert root == root_of(self._disks.open_reader(self.ref), CUT)
        return reader.bytes_read

    def journal_bytes(self) -> bytes:
        """Return what the journal holds."""
        return os.pread(self._journal, 1 << 20, 0)

    def lose_leaf(self, index: int) -> None:
        """Wipe a leaf in the journal."""
        os.pwrite(self._journal, bytes(32), 4096 + 3 * len(self.store.done.raw) + 32 * index)


@pytest.fixture
def target() -> Generator[Target]:
    """A target that holds zeros."""
    with tempfile.TemporaryFile() as journal:
        yield Target(journal.fileno())


def test_a_disk_is_read_back_once(target: Target):
    target.write(3, b"three")
    target.write(COUNT - 1, b"the short one")
    assert target.read_back() == CUT.length(3) + CUT.length(COUNT - 1)
    assert target.read_back() == 0


def test_what_was_written_meanwhile_is_read_back_again_and_nothing_else(target: Target):
    for index in range(0, COUNT, 2):
        target.write(index, b"%d" % index)
    assert target.read_back() == sum(CUT.length(index) for index in range(0, COUNT, 2))
    target.write(4, b"once more")
    target.write(5, b"was zero")
    assert target.read_back() == 2 * CHUNK
    assert target.read_back() == 0


def test_what_is_not_as_the_journal_says_is_read_until_it_is(target: Target):
    target.write(7, b"seven")
    target.writer.write(CUT.start(7), b"S")
    assert target.read_back() == CHUNK
    assert target.read_back() == CHUNK
    target.writer.write(CUT.start(7), b"s")
    assert target.read_back() == CHUNK
    assert target.read_back() == 0


def test_a_hole_that_is_none_is_found(target: Target):
    """The journal says zeros, and something lies there."""
    target.writer.write(CUT.start(9) + 1, b"x")
    assert target.read_back() == CHUNK
    assert not target.store.proven[9]
    assert target.store.proven[8]


def test_a_leaf_that_the_journal_lost_is_read(target: Target):
    target.write(3, b"three")
    target.read_back()
    target.lose_leaf(3)
    assert target.read_back() == CHUNK


def test_what_is_released_is_not_proven_any_more_also_when_opened_again(target: Target):
    target.write(3, b"three")
    target.read_back()
    target.store.release(0, COUNT)
    assert target.store.proven.total() == 0
    with tempfile.TemporaryFile() as copy:
        copy.write(target.journal_bytes())
        copy.flush()
        assert LeafStore(copy.fileno(), CUT, SUBJECT).proven.total() == 0
