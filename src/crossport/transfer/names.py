"""How chunks and blocks are named on the wire, and the seal over all chunks.

A name is keyed with a secret that the two ends of a copy share. It says nothing to anybody else: whoever
knows a chunk's digest from elsewhere cannot tell its name, and a name under one key means nothing under
another.
"""

from hashlib import blake2b, sha256

__all__ = ["BLOCK", "BLOCK_NAME", "KEY", "NAME", "NOTHING", "SEAL", "Names", "Seal", "block_count"]

KEY = 32
NAME = 16
NOTHING = bytes(NAME)
"""Stands for a chunk that is not held."""
SEAL = 32
BLOCK = 4 << 10
"""A chunk consists of blocks of so many bytes; the last one may be shorter."""
BLOCK_NAME = 8
"""Short, because it only says where to look: the chunk that comes of it is checked by its own name."""


def block_count(size: int) -> int:
    """Return how many blocks ``size`` bytes have."""
    return -(-size // BLOCK)


class Names:
    """Names under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # A whole block of SHA-256, taken in once: naming a block of a chunk costs no more than hashing it.
        self._blocks = sha256(b"crossport block of a chunk\0".ljust(32) + key.ljust(KEY, b"\0"))

    def name(self, leaf: bytes) -> bytes:
        """Return the name of the chunk with this leaf."""
        return blake2b(leaf, digest_size=NAME, key=self._key).digest()

    def block(self, content: bytes | memoryview) -> bytes:
        """Return the name of a block."""
        digest = self._blocks.copy()
        digest.update(content)
        return digest.digest()[:BLOCK_NAME]

    def blocks(self, content: bytes | memoryview) -> list[bytes]:
        """Return the names of all blocks of a chunk."""
        view = memoryview(content)
        return [self.block(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK)]

    def for_one_copy(self, subject: tuple[object, ...]) -> bytes:
        """Return a key for one copy alone, to be told to a peer that does not know this one."""
        return blake2b(repr(subject).encode(), digest_size=KEY, key=self._key).digest()


class Seal:
    """The sum over chunks of a digest of their number and leaf: the same in whatever order they come."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, index: int, leaf: bytes) -> None:
        """Take in one chunk that is not all zeros."""
        digest = blake2b(index.to_bytes(8) + leaf, digest_size=SEAL).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % (1 << 8 * SEAL)

    def sealed(self) -> bytes:
        """Return the sum so far."""
        return self._sum.to_bytes(SEAL)
