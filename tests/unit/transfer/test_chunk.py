"""Cutting a disk into runs of chunks, against the slowest correct program: one look at every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport import errors
from crossport.model.artifact import Extent
from crossport.transfer.chunk import Cut, Run, batches, runs

SIZE = 8


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12), st.integers(1, 5))
def test_a_chunk_is_zero_only_if_each_of_its_bytes_is(parts: list[tuple[int, bool]], limit: int) -> None:
    extents, zero = list[Extent](), list[bool]()
    for size, is_zero in parts:
        extents.append(Extent(len(zero), size, is_zero))
        zero += [is_zero] * size
    cut = Cut(len(zero), SIZE)
    expected = [all(zero[at : at + SIZE]) for at in range(0, len(zero), SIZE)]
    for cuts in (list(runs(extents, cut)), list(batches(runs(extents, cut), limit))):
        assert [run.zero for run in cuts for _ in range(run.count)] == expected
        assert [run.first for run in cuts] == [sum(run.count for run in cuts[:at]) for at in range(len(cuts))]
    assert all(run.count <= limit for run in batches(runs(extents, cut), limit) if not run.zero)


@pytest.mark.parametrize(
    "extents", [[Extent(1, 15)], [Extent(0, 8), Extent(9, 7)], [Extent(0, 8)]], ids=["front", "middle", "end"]
)
def test_a_gap_is_never_taken_for_zeros(extents: list[Extent]) -> None:
    with pytest.raises(errors.Broken, match=r"transfer\.extent\.gap"):
        list(runs(extents, Cut(16, SIZE)))


def test_a_hole_costs_one_run() -> None:
    assert list(runs([Extent(0, 1 << 40, zero=True)], Cut(1 << 40))) == [Run(0, 1 << 22, zero=True)]
