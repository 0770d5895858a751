"""The Merkle tree that seals a disk: SHA-256 over its chunks, built while the chunks stream by.

The form is that of RFC 9162, section 2.1.1: a leaf is SHA-256(0x00, chunk), an inner node is
SHA-256(0x01, left, right), the left side holds the largest power of two of leaves. The last chunk of a disk
may be shorter. A chunk of zeros has a constant leaf, and a run of them costs only the logarithm of its
length. The tree itself says nothing about the disk's size or the chunk size: whoever seals a disk keeps
these beside the root.
"""

import hashlib
from collections.abc import Sequence

__all__ = ["CHUNK", "Tree", "leaf", "node", "path", "root_along", "zero_leaf"]

CHUNK = 256 << 10
"""Bytes in a chunk unless a manifest says otherwise."""


def leaf(chunk: bytes | memoryview) -> bytes:
    """Return the digest of one chunk, as it is in the tree and on the wire."""
    digest = hashlib.sha256(b"\x00")
    digest.update(chunk)
    return digest.digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the digest of an inner node over the two below it."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def zero_leaf(size: int) -> bytes:
    """Return the leaf of a chunk of ``size`` zero bytes."""
    return leaf(bytes(size))


def path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of one leaf, from its sibling up to below the root (RFC 9162, 2.1.3.1)."""
    if len(leaves) < 2:
        return ()
    # The left side holds the largest power of two of leaves that is less than all.
    left = 1 << (len(leaves) - 1).bit_length() - 1
    if index < left:
        return (*path(leaves[:left], index), _root(leaves[left:]))
    return (*path(leaves[left:], index - left), _root(leaves[:left]))


def root_along(digest: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that the leaf ``digest`` has as number ``index`` of ``count`` leaves along its path.

    None when a path of this length cannot belong to it (RFC 9162, 2.1.3.2).
    """
    if not 0 <= index < count:
        return None
    place, last = index, count - 1
    for sibling in path:
        if not last:
            return None
        if place & 1 or place == last:
            digest = node(sibling, digest)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            digest = node(digest, sibling)
        place, last = place >> 1, last >> 1
    return None if last else digest


class Tree:
    """A tree that is being built from left to right. Memory grows with the logarithm of the leaf count."""

    def __init__(self, chunk_size: int = CHUNK) -> None:
        self.leaf_count = 0
        # Roots of complete subtrees from left to right; their levels are the bits set in leaf_count.
        self._roots: list[bytes] = []
        self._zero_roots = [zero_leaf(chunk_size)]

    def add(self, digest: bytes) -> None:
        """Append the leaf of the next chunk."""
        self._add_subtree(digest, 0)

    def add_zeros(self, count: int) -> None:
        """Append ``count`` leaves of whole zero chunks."""
        while count:
            level = count.bit_length() - 1
            if self.leaf_count:
                # Only a subtree that begins at a multiple of its own width is complete.
                level = min(level, (self.leaf_count & -self.leaf_count).bit_length() - 1)
            self._add_subtree(self._zero_root(level), level)
            count -= 1 << level

    def root(self) -> bytes:
        """Return the root over the leaves so far; more may follow."""
        if not self._roots:
            return hashlib.sha256().digest()
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node(left, root)
        return root

    def _add_subtree(self, root: bytes, level: int) -> None:
        width = 1 << level
        while self.leaf_count & width:
            root = node(self._roots.pop(), root)
            self.leaf_count -= width
            width <<= 1
        self._roots.append(root)
        self.leaf_count += width

    def _zero_root(self, level: int) -> bytes:
        while len(self._zero_roots) <= level:
            self._zero_roots.append(node(self._zero_roots[-1], self._zero_roots[-1]))
        return self._zero_roots[level]


def _root(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    for each in leaves:
        tree.add(each)
    return tree.root()
