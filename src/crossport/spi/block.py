"""Everything that holds a disk: read, write, zero and flush at offsets, and which parts hold data.

What takes a disk in order only, such as an image service, is a StreamWriter.
Synchronous and thread-safe; ``close`` cancels calls in other threads, which then raise Unavailable.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from crossport.model.artifact import Extent

__all__ = ["BlockReader", "BlockWriter", "StreamWriter"]


@runtime_checkable
class BlockReader(Protocol):
    """A disk that can be read at offsets."""

    size: int

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range in order without gaps. An extent not marked zero may still read as zero."""
        ...

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``; never partial. Raise Invalid beyond the end."""
        ...

    def close(self) -> None:
        """Let go. May be called twice."""
        ...


@runtime_checkable
class BlockWriter(Protocol):
    """A disk that can be written at offsets."""

    size: int
    reads_as_zero: bool
    """Whether everything not yet written certainly reads as zero."""

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write all of ``data``. Durable only after ``flush``."""
        ...

    def zero(self, start: int, size: int) -> None:
        """Make the range read as zero."""
        ...

    def flush(self) -> None:
        """Return when everything written before is durable."""
        ...

    def close(self) -> None:
        """Let go without flushing. May be called twice."""
        ...


@runtime_checkable
class StreamWriter(Protocol):
    """A disk that is taken in order, once. It cannot go on after a break: begin another one."""

    size: int

    def write(self, data: bytes | memoryview) -> None:
        """Hand over the next bytes, all of ``data``; raise Invalid beyond the end, Unavailable at a break."""
        ...

    def finish(self) -> None:
        """Return when the whole disk is taken and kept.

        Raise Invalid while fewer than ``size`` bytes were written. May be called twice.
        """
        ...

    def close(self) -> None:
        """Let go; what was not finished is not kept. May be called twice."""
        ...
