"""How a link is divided: equal shares for tenants, nothing unused, no bound ever passed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport.migration.share import Copy, shares

LINK = ("alpha", "beta")
OTHER = ("beta", "alpha")
ALL = math.inf


def copy(
    name: str, tenant: str = "t1", run: str = "", want: float = ALL, link: tuple[str, str] = LINK
) -> Copy:
    return Copy(id=name, tenant=tenant, run=run or f"run-{name}", link=link, want_bps=want)


@pytest.mark.parametrize(
    ("copies", "runs", "expected"),
    [
        ([copy("a")], {}, {"a": 120}),
        ([copy("a"), copy("b")], {}, {"a": 60, "b": 60}),
        ([copy("a"), copy("b"), copy("c", "t2")], {}, {"a": 30, "b": 30, "c": 60}),
        ([copy("a"), copy("b", "t2", want=20)], {}, {"a": 100, "b": 20}),
        ([copy("a", want=10), copy("b", want=20), copy("c", "t2")], {}, {"a": 10, "b": 20, "c": 90}),
        ([copy("a"), copy("b", "t2")], {"run-a": 12}, {"a": 12, "b": 108}),
        ([copy("a", run="r"), copy("b", run="r"), copy("c")], {}, {"a": 30, "b": 30, "c": 60}),
        ([copy("a", run="r"), copy("b", run="r", want=4)], {"r": 24}, {"a": 20, "b": 4}),
        ([copy("a", want=20), copy("b", "t2", want=40)], {}, {"a": 50, "b": 70}),
        ([copy("a", want=20)], {"run-a": 30}, {"a": 30}),
        ([copy("a"), copy("b", link=OTHER)], {}, {"a": 120, "b": ALL}),
        ([copy("a", link=OTHER)], {"run-a": 8}, {"a": 8}),
        ([copy("a", want=20, link=OTHER)], {}, {"a": ALL}),
        ([], {}, {}),
    ],
    ids=[
        "alone",
        "two-runs",
        "two-tenants",
        "unused-share",
        "unused-share-of-two",
        "bounded-run",
        "disks-of-one-run",
        "disks-of-a-bounded-run",
        "room-to-grow",
        "room-of-a-bounded-run",
        "other-way",
        "run-alone-is-bounded",
        "unbounded",
        "nothing",
    ],
)
def test_the_division(copies: list[Copy], runs: dict[str, float], expected: dict[str, float]) -> None:
    assert shares(copies, {LINK: 120.0}, runs) == pytest.approx(expected)


wants = st.one_of(st.just(ALL), st.floats(1, 1e9))
tenants, numbers = st.sampled_from(["t1", "t2", "t3"]), st.integers(0, 3)
anything = st.lists(st.tuples(tenants, numbers, wants), min_size=1, max_size=12)


def named(those: list[tuple[str, int, float]]) -> list[Copy]:
    """Make copies of these tenants, with runs of their own."""
    return [copy(f"{at}", each[0], f"{each[0]}-{each[1]}", each[2]) for at, each in enumerate(those)]


@given(anything, st.floats(1e3, 1e9))
def test_a_tenant_gets_its_equal_share_or_all_it_wants(
    those: list[tuple[str, int, float]], bound: float
) -> None:
    copies = named(those)
    rates = shares(copies, {LINK: bound}, {})
    there = {each.tenant for each in copies}
    for tenant in there:
        got = sum(rates[each.id] for each in copies if each.tenant == tenant)
        want = sum(each.want_bps for each in copies if each.tenant == tenant)
        assert got >= min(want, bound / len(there)) * 0.999999
