"""The locator of a disk of kind ``file``: a path, and which of its parts have changed.

``/path`` or ``/path?changed=START+SIZE,…``; of the latter, what is not named is the same as before.
"""

import re
from collections.abc import Iterable, Iterator

from crossport.model.artifact import Extent

__all__ = ["Ranges", "changes_laid_over", "file_locator", "file_of"]

Ranges = tuple[tuple[int, int], ...]

_CHANGED = re.compile(r"(.*)\?changed=((?:\d+\+\d+(?:,\d+\+\d+)*)?)", re.DOTALL)


def file_locator(path: str, changed: Ranges | None = None) -> str:
    """Return the locator of ``path``; ``changed`` are starts and sizes in order, None: not known."""
    if changed is None:
        return path
    return f"{path}?changed={','.join(f'{start}+{size}' for start, size in changed)}"


def file_of(locator: str) -> tuple[str, Ranges | None]:
    """Return path and changed ranges, None when the locator does not tell them."""
    found = _CHANGED.fullmatch(locator)
    if found is None:
        return locator, None
    pieces = (piece.split("+") for piece in found[2].split(",") if piece)
    return found[1], tuple((int(start), int(size)) for start, size in pieces)


def changes_laid_over(extents: Iterable[Extent], changed: Ranges | None) -> Iterator[Extent]:
    """Cut ``extents`` where ``changed`` ranges begin and end, and tell which have changed."""
    if changed is None:
        yield from extents
        return
    for extent in extents:
        position, end = extent.start, extent.start + extent.size
        while position < end:
            inside, stop = _state(position, changed)
            stop = min(stop, end)
            yield Extent(position, stop - position, extent.zero, inside)
            position = stop


def _state(position: int, changed: Ranges) -> tuple[bool, int]:
    """Return whether ``position`` is within a range, and where that changes."""
    for start, size in changed:
        if position < start:
            return False, start
        if position < start + size:
            return True, start + size
    return False, 1 << 63
