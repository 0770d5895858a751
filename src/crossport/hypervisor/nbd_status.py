"""What an NBD server says of a range: which parts read as zero, and which changed since a bitmap was begun.

Both come as lists of lengths that need not end at the same place; they are laid over each other as far as
both reach. Each extent's length and state is from the server and is not trusted.
"""

import struct
from collections.abc import Iterator

from crossport.hypervisor import nbd_wire as wire

__all__ = ["laid_over"]


def laid_over(allocation: bytes | None, changes: bytes | None) -> Iterator[tuple[int, bool, bool]]:
    """Yield length, whether it reads as zero, and whether it changed; raise Broken for an extent of no bytes.

    What a list that is None would have told is taken as data, and as changed.
    """
    if allocation is None:
        yield from ((length, False, bool(state & wire.STATE_DIRTY)) for length, state in _each(changes))
        return
    if changes is None:
        yield from ((length, bool(state & wire.STATE_ZERO), True) for length, state in _each(allocation))
        return
    left = 0
    dirty, changed = _each(changes), True
    for whole, state in _each(allocation):
        length = whole
        while length:
            if not left:
                following = next(dirty, None)
                if following is None:
                    return
                left, changed = following[0], bool(following[1] & wire.STATE_DIRTY)
            piece = min(length, left)
            yield piece, bool(state & wire.STATE_ZERO), changed
            length, left = length - piece, left - piece


def _each(status: bytes | None) -> Iterator[tuple[int, int]]:
    for length, state in struct.iter_unpack(">II", status or b""):
        if not length:
            raise wire.malformed("an extent of no bytes")
        yield length, state
