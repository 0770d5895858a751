"""The tree over the log: it grows by one leaf at a time, and proves what is in it (RFC 9162, section 2.1).

Beside the leaves only the roots of subtrees with 256, 65,536, … leaves are kept: with these any root or
proof of a log of a million records takes some hundred hashes. Whoever asks for a proof hands in where the
kept hashes are found.
"""

from collections.abc import Callable, Sequence

from crossport import merkle

__all__ = ["EMPTY", "Frontier", "Kept", "Stored", "combined", "consistency", "grew", "inclusion", "root"]

HEIGHT = 8
"""Levels between two that are kept."""
EMPTY = merkle.Tree().root()
"""The root of a log without records."""

Stored = Callable[[int, int, int], Sequence[bytes]]
"""Returns kept hashes: of a level that is a multiple of HEIGHT, from one position to before another."""
Kept = tuple[int, int, bytes]
"""Level, position and hash of a subtree to be kept."""


class Frontier:
    """The right edge of a log: enough to append, and for its root."""

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """Go on behind ``size`` leaves; ``roots`` are those of the complete subtrees, from the left."""
        self.size = size
        self._roots = list(roots)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Return the roots of the complete subtrees, from the left: one for each bit of the size."""
        return tuple(self._roots)

    def add(self, leaf: bytes) -> tuple[Kept, ...]:
        """Append a leaf; return the subtrees that it completes and that are to be kept."""
        kept: list[Kept] = []
        level, position, digest = 0, self.size, leaf
        while position & 1:
            digest = merkle.node(self._roots.pop(), digest)
            level, position = level + 1, position >> 1
            if level % HEIGHT == 0:
                kept.append((level, position, digest))
        self._roots.append(digest)
        self.size += 1
        return tuple(kept)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return combined(self._roots) if self._roots else EMPTY


def combined(roots: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees, given from the left."""
    *lefts, digest = roots
    for left in reversed(lefts):
        digest = merkle.node(left, digest)
    return digest


def root(size: int, stored: Stored) -> bytes:
    """Return the root over the first ``size`` leaves."""
    return _range(0, size, stored) if size else EMPTY


def inclusion(number: int, size: int, stored: Stored) -> tuple[bytes, ...]:
    """Return the path of one leaf to the root over the first ``size``; see `crossport.merkle.root_along`."""

    def path(start: int, end: int) -> tuple[bytes, ...]:
        if end - start == 1:
            return ()
        middle = start + _split(end - start)
        if number < middle:
            return (*path(start, middle), _range(middle, end, stored))
        return (*path(middle, end), _range(start, middle, stored))

    return path(0, size)


def consistency(first: int, second: int, stored: Stored) -> tuple[bytes, ...]:
    """Return the proof that the log of ``first`` leaves is the beginning of that of ``second`` (2.1.4.1).

    It is empty when there is nothing to prove: from no leaf, or between equal sizes.
    """
    if first in (0, second):
        return ()

    def proof(start: int, end: int, *, whole: bool) -> tuple[bytes, ...]:
        if first == end:
            return () if whole else (_range(start, end, stored),)
        middle = start + _split(end - start)
        if first <= middle:
            return (*proof(start, middle, whole=whole), _range(middle, end, stored))
        return (*proof(middle, end, whole=False), _range(start, middle, stored))

    return proof(0, second, whole=True)


def grew(first: tuple[int, bytes], second: tuple[int, bytes], proof: Sequence[bytes]) -> bool:
    """Say whether ``proof`` shows that the log with the root ``first`` is the beginning of ``second``.

    Each is a size and a root (RFC 9162, 2.1.4.2).
    """
    (old, old_root), (new, new_root) = first, second
    if old == 0:
        return not proof and old_root == EMPTY
    if old == new:
        return not proof and old_root == new_root
    if old > new or not proof:
        return False
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    return _climbed(old - 1, new - 1, path) == (old_root, new_root)


def _climbed(place: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return both roots that ``path`` leads to; None when it has another length than it must."""
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if not last:
            return None
        if place & 1 or place == last:
            old, new = merkle.node(sibling, old), merkle.node(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = merkle.node(new, sibling)
        place, last = place >> 1, last >> 1
    return None if last else (old, new)


def _split(count: int) -> int:
    """Return how many leaves the left side has: the largest power of two that is less than all."""
    return 1 << (count - 1).bit_length() - 1


def _range(start: int, end: int, stored: Stored) -> bytes:
    """Return the root over leaves that are a subtree of the log, complete or at its right edge."""
    roots: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        roots.append(_complete(level, start >> level, stored))
        start += 1 << level
    return combined(roots)


def _complete(level: int, position: int, stored: Stored) -> bytes:
    below = level - level % HEIGHT
    width = 1 << (level - below)
    hashes = list(stored(below, position * width, (position + 1) * width))
    while len(hashes) > 1:
        hashes = [merkle.node(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
