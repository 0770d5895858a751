"""What a sender knows of the disk that it read, whatever the receiver says of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import CHUNK, Copy, Marked, root_of

from crossport import errors, merkle
from crossport.testing.conformance.block import noise
from crossport.transfer.chunk import Cut, Run
from crossport.transfer.coverage import Book, Coverage
from crossport.transfer.frame import End
from crossport.transfer.holding import Holding
from crossport.transfer.leaf_store import LeafStore


def read(coverage: Coverage, content: bytes, numbers: list[int]) -> None:
    for number in numbers:
        part = content[number * CHUNK : (number + 1) * CHUNK]
        if any(part):
            coverage.note(number, merkle.leaf(part))
        else:
            coverage.note_zeros(number, 1)


def settle(coverage: Coverage, content: bytes, numbers: list[int]) -> None:
    read(coverage, content, numbers)
    for number in numbers:
        coverage.settle(number, 1, zero=not any(content[number * CHUNK : (number + 1) * CHUNK]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, CHUNK), st.randoms())
def test_the_root_is_that_of_the_disk_in_whatever_order_it_was_read(
    seeds: list[int], tail: int, order: random.Random
) -> None:
    parts = [noise(CHUNK, str(seed)) if seed else bytes(CHUNK) for seed in seeds]
    content = b"".join(parts)[: (len(parts) - 1) * CHUNK + tail]
    coverage = Coverage(Cut(len(content), CHUNK), Book())
    numbers = list(range(len(parts)))
    order.shuffle(numbers)

    settle(coverage, content, numbers[1:])
    assert coverage.root() is None

    settle(coverage, content, numbers[:1])
    assert coverage.root() == root_of(content)


def test_more_leaves_than_wait_in_memory_are_all_found_again() -> None:
    cut, leaves = Cut(3000 * CHUNK, CHUNK), [number.to_bytes(32) for number in range(1, 3001)]
    coverage, tree = Coverage(cut, Book()), merkle.Tree(CHUNK)
    for number, leaf in enumerate(leaves):
        coverage.note(number, leaf)
        tree.add(leaf)
    coverage.settle(0, 1000)
    for number in range(1000, 3000):
        coverage.settle(number, 1)

    assert coverage.root() == tree.root()


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have receivers tell the root of another disk."""
    told = root_of(noise(20 * CHUNK, "another disk"))

    def lie(self: Holding, end: End) -> bytes:
        del self, end
        return told

    monkeypatch.setattr(Holding, "root", lie)


@pytest.mark.usefixtures("liar")
@pytest.mark.parametrize("again", [False, True], ids=["sent", "compared"])
def test_a_receiver_that_tells_another_disks_root_is_found_out(again: bool) -> None:
    copy = Copy(noise(10 * CHUNK) + bytes(10 * CHUNK))

    sent = [copy.run()[0] for _ in range(1 + again)][-1]

    assert isinstance(sent, errors.Broken)
    assert sent.code == "transfer.peer.malformed"
    assert "another root than that of what was read" in sent.text


@pytest.mark.usefixtures("liar")
def test_so_is_one_that_was_told_that_nearly_all_is_unchanged() -> None:
    copy = Copy(noise(20 * CHUNK))
    copy.run()

    copy.reader = Marked(copy.reader, changed={3})
    sent, _ = copy.run()

    assert isinstance(sent, errors.Broken)
    assert "another root than that of what was read" in sent.text


def test_a_receiver_that_has_another_chunk_than_it_said_is_found_out_although_that_is_not_read() -> None:
    copy = Copy(noise(20 * CHUNK))
    copy.run()
    cut = Cut(20 * CHUNK, CHUNK)
    journal = LeafStore(copy.journal, cut, {"run": copy.expects.run}, durable=False)
    other = noise(CHUNK, "another chunk")
    copy.writer.write(7 * CHUNK, other)
    journal.commit([(Run(7, 1, zero=False), merkle.leaf(other))])

    whole, copy.reader = copy.reader, Marked(copy.reader, changed={3})
    sent, _ = copy.run()

    assert isinstance(sent, errors.Broken)
    assert sent.code == "transfer.peer.malformed"
    assert copy.meters[0].counters.read == CHUNK

    copy.reader = Marked(whole, changed=set())
    assert copy.run()[0] == root_of(copy.target()) == root_of(noise(20 * CHUNK))
    assert copy.meters[0].counters.read == 20 * CHUNK, "whoever was lied to trusts nothing any more"


def test_what_this_end_does_not_know_any_more_is_compared_not_sent() -> None:
    copy = Copy(noise(20 * CHUNK))
    copy.run()
    copy.book = Book()

    copy.reader = Marked(copy.reader, changed={3})

    assert copy.run()[0] == root_of(copy.target())
    told = copy.meters[0].counters
    assert told.read == 20 * CHUNK
    assert told.sent < CHUNK


def test_a_leaf_is_forgotten_before_another_content_may_get_there() -> None:
    book, cut = Book(), Cut(4 * CHUNK, CHUNK)
    coverage = Coverage(cut, book)
    settle(coverage, noise(4 * CHUNK), [0, 1, 2, 3])
    assert coverage.root() == root_of(noise(4 * CHUNK))

    later = Coverage(cut, book)
    later.note(1, merkle.leaf(noise(CHUNK, "another")))
    later.note_zeros(2, 1)

    # Nothing of that was settled when this worker was killed.
    known = Coverage(cut, book).known
    assert [known[index] for index in range(4)] == [True, False, False, True]


class Dies:
    """A throttle that ends the sender after so many frames."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def take(self, size: int) -> None:
        del size
        self.left -= 1
        if self.left < 0:
            raise errors.Conflict("test.killed", "Killed.")


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_honest_ends_agree_however_often_copies_end_early_or_leave_changes_to_later_ones(
    data: st.DataObject,
) -> None:
    chunks = st.sets(st.integers(0, 11), max_size=6)
    content = bytearray(noise(12 * CHUNK))
    copy = Copy(bytes(content))
    whole, changed = copy.reader, set(range(12))
    for number in range(data.draw(st.integers(1, 5))):
        for index in data.draw(chunks):
            part = noise(CHUNK, f"{number} {index}") if data.draw(st.booleans()) else bytes(CHUNK)
            content[index * CHUNK : (index + 1) * CHUNK] = part
            changed.add(index)
        copy.change(bytes(content))
        left_out = data.draw(chunks) & changed
        copy.reader = Marked(whole, changed - left_out)
        dies = Dies(data.draw(st.sampled_from([0, 1, 3, 6, 1000])))
        copy.throttle = dies
        copy.writer = copy.disks.open_writer(copy.disks.ref("b/target"))

        sent, _ = copy.run()

        if dies.left < 0:
            assert isinstance(sent, errors.Conflict)
        else:
            assert sent == root_of(copy.target())
            changed = left_out
