"""How chunks are named on the wire, and the seal over all of them.

A name is keyed with a secret that the two ends of one copy share. It says nothing to anybody else: whoever
knows a chunk's digest from elsewhere cannot tell its name, and a name from one copy means nothing in another.
"""

from hashlib import blake2b

__all__ = ["KEY", "NAME", "NOTHING", "SEAL", "Names", "Seal"]

KEY = 32
NAME = 16
NOTHING = bytes(NAME)
"""Stands for a chunk that is not held."""
SEAL = 32


class Names:
    """Names under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def name(self, leaf: bytes) -> bytes:
        """Return the name of the chunk with this leaf."""
        return blake2b(leaf, digest_size=NAME, key=self._key).digest()


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
