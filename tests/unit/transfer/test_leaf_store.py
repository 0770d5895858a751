"""The journal: what it holds after any story of commits and releases, and that a huge disk costs little."""

import os
import tempfile
import tracemalloc
from collections.abc import Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossport import errors, merkle
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut, Run
from crossport.transfer.leaf_store import LeafStore

CUT = Cut(37 * 4096 - 5, 4096)
SUBJECT = {"run": "run-1", "identity": "volume-1"}


@pytest.fixture
def file() -> Generator[int]:
    with tempfile.TemporaryFile() as journal:
        yield journal.fileno()


def again(descriptor: int) -> int:
    """Open the same file once more, as another process would."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 36), st.integers(1, 9), st.sampled_from("dzr")), max_size=20))
def test_it_holds_what_was_committed_and_not_released_also_when_opened_again(
    story: list[tuple[int, int, str]],
) -> None:
    with tempfile.TemporaryFile() as journal:
        store = LeafStore(journal.fileno(), CUT, SUBJECT)
        model = dict[int, bytes]()
        for number, (first, size, what) in enumerate(story):
            count = min(size, CUT.count - first)
            chunks = range(first, first + count)
            if what == "d":
                leaves = {index: merkle.leaf(b"%d-%d" % (number, index)) for index in chunks}
                store.commit([(Run(index, 1, zero=False), leaf) for index, leaf in leaves.items()])
                model |= leaves
            elif what == "z":
                store.commit([(Run(first, count, zero=True), b"")])
                model |= {index: merkle.zero_leaf(CUT.length(index)) for index in chunks}
            else:
                store.release(first, count)
                for index in chunks:
                    model.pop(index, None)
        expected = [model.get(index) for index in range(CUT.count)]
        assert store.leaves(0, CUT.count) == expected
        with tempfile.TemporaryFile() as copy:
            copy.write(os.pread(journal.fileno(), 1 << 20, 0))
            copy.flush()
            assert LeafStore(copy.fileno(), CUT, SUBJECT).leaves(0, CUT.count) == expected


@pytest.mark.parametrize(
    ("cut", "subject"),
    [(CUT, {**SUBJECT, "identity": "volume-2"}), (Cut(CUT.size - 4096, 4096), SUBJECT)],
    ids=["another-volume", "another-size"],
)
def test_a_journal_that_is_not_of_this_disk_is_thrown_away(
    file: int, cut: Cut, subject: dict[str, str]
) -> None:
    LeafStore(file, CUT, SUBJECT).commit([(Run(0, CUT.count, zero=True), b"")])
    assert LeafStore(file, cut, subject).done.total() == 0


def test_two_workers_cannot_have_one_journal(file: int) -> None:
    LeafStore(file, CUT, SUBJECT)
    other = again(file)
    with pytest.raises(errors.Conflict, match=r"transfer\.journal\.busy"):
        LeafStore(other, CUT, SUBJECT)
    os.close(other)


def test_two_tib_of_zeros_cost_neither_time_nor_memory(file: int) -> None:
    cut = Cut(2 << 40)
    tracemalloc.start()
    store = LeafStore(file, cut, SUBJECT)
    store.commit([(Run(0, cut.count, zero=True), b"")])
    store.release(1 << 22, 1)
    assert list(store.not_zero(0, cut.count)) == [(1 << 22, 1)]
    assert sum(run.count for run, _ in store.runs()) == cut.count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70), st.lists(st.tuples(st.integers(0, 69), st.integers(0, 70), st.booleans())))
def test_bits_are_what_a_list_of_booleans_would_be(count: int, fills: list[tuple[int, int, bool]]) -> None:
    bits, model = Bits(count), [False] * count
    for first, size, value in fills:
        start = min(first, count)
        stop = min(count, start + size)
        bits.fill(start, stop - start, value=value)
        model[start:stop] = [value] * (stop - start)
    assert [bits[index] for index in range(count)] == model
    assert bits.total() == sum(model)
    assert [value for _, size, value in bits.runs(0, count) for _ in range(size)] == model
    assert bits.all_set(0, count) == all(model)
    assert Bits(count, bytes(bits.raw)).raw == bits.raw
