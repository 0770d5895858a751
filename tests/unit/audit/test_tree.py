"""The tree of the audit log against the RFC's recursive definition, and its proofs against every lie.

Sizes go across several of the levels that are kept: these are made three instead of eight high here.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport import merkle
from crossport.audit import tree
from crossport.audit.tree import Frontier
from crossport.testing.mover import slow_root

MOST = 70


class Log:
    """Leaves and what is kept of their subtrees."""

    def __init__(self, size: int) -> None:
        self.texts = [b"record %d" % number for number in range(size)]
        self.leaves = [merkle.leaf(text) for text in self.texts]
        self.kept: dict[tuple[int, int], bytes] = {}
        edge = Frontier()
        for leaf in self.leaves:
            self.kept |= {(level, at): digest for level, at, digest in edge.add(leaf)}
            edge = Frontier(edge.size, edge.roots)  # as if each was appended by another node
        self.edge = edge

    def stored(self, level: int, start: int, end: int) -> list[bytes]:
        if level == 0:
            return self.leaves[start:end]
        return [self.kept[level, at] for at in range(start, end)]

    def root(self, size: int) -> bytes:
        return tree.root(size, self.stored)


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "HEIGHT", 3)


def test_the_root_is_that_of_the_definition_at_every_size():
    log = Log(MOST)
    for size in range(MOST + 1):
        assert log.root(size) == slow_root(log.texts[:size]) == Log(size).edge.root()


def test_every_leaf_is_proven_in_every_log_and_no_other_leaf():
    log = Log(MOST)
    for size in (1, 2, 7, 8, 9, 64, MOST):
        for number in range(size):
            path = tree.inclusion(number, size, log.stored)
            assert merkle.root_along(log.leaves[number], number, size, path) == log.root(size)
            assert merkle.root_along(merkle.leaf(b"x"), number, size, path) != log.root(size)


def test_every_log_is_proven_to_be_the_beginning_of_every_later_one():
    log = Log(MOST)
    for first in range(MOST + 1):
        for second in range(first, MOST + 1):
            proof = tree.consistency(first, second, log.stored)
            old, new = (first, log.root(first)), (second, log.root(second))
            assert tree.grew(old, new, proof), (first, second)


@given(st.integers(1, MOST - 1), st.data())
def test_a_log_that_was_rewritten_or_is_shorter_is_never_proven(first: int, data: st.DataObject):
    log = Log(MOST)
    second = data.draw(st.integers(first + 1, MOST))
    old, new = (first, log.root(first)), (second, log.root(second))
    proof = tree.consistency(first, second, log.stored)
    other = (first, merkle.leaf(b"another log"))
    assert not tree.grew(other, new, proof)
    assert not tree.grew(new, old, proof)
    assert not tree.grew(old, (second, merkle.leaf(b"another log")), proof)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not tree.grew(old, new, proof[:at] + proof[at + 1 :])
        assert not tree.grew(old, new, (*proof[:at], merkle.leaf(b"x"), *proof[at + 1 :]))
        assert not tree.grew(old, new, (*proof, proof[-1]))


def test_two_logs_of_one_size_are_one_log_only_with_one_root():
    log = Log(5)
    assert tree.grew((5, log.root(5)), (5, log.root(5)), ())
    assert not tree.grew((5, log.root(5)), (5, log.root(4)), ())
