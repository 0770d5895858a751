"""A disk full of noise and a disk that keeps nothing: the two ends of a measurement.

They are registered in the worker like any other kind, so that a measurement goes the way of a copy: read,
hash, try to compress, send over TLS, verify. Only the storage is missing.
"""

from collections.abc import Callable, Iterator

from crossport import errors
from crossport.model.artifact import DiskRef, Extent

__all__ = ["NOISE", "VOID", "NoiseOpener", "VoidOpener"]

NOISE = "noise"
VOID = "void"
_POOL = 1 << 20
_GRAIN = 64 << 10  # each begins with its number, so that it is like no other; a chunk has one at least
_STAMP = 8


class _Noise:
    """Incompressible bytes, the same at the same place, until ``ends``; zeros from then on.

    Zeros cost nothing to send, so that the copy of a disk that was too large for the time comes to a proper
    end at once. No two chunks are alike, or a receiver that knows chunks would not have them sent.
    """

    def __init__(self, size: int, pool: bytes, monotonic: Callable[[], float], ends: float) -> None:
        self.size = size
        self._pool = pool
        self._monotonic = monotonic
        self._ends = ends

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """All of it holds data."""
        yield Extent(start, size)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``."""
        if self._monotonic() >= self._ends:
            buffer[:] = bytes(len(buffer))
            return
        end = start + len(buffer)
        while start < end:
            number, skipped = divmod(start, _GRAIN)
            part = self._grain(number)[skipped : skipped + end - start]
            buffer[: len(part)] = part
            start, buffer = start + len(part), buffer[len(part) :]

    def _grain(self, number: int) -> bytes:
        at = number % (len(self._pool) // _GRAIN) * _GRAIN
        return number.to_bytes(_STAMP, "little") + self._pool[at + _STAMP : at + _GRAIN]

    def close(self) -> None:
        """Nothing is held."""


class _Void:
    """Takes everything and keeps nothing."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reads_as_zero = True

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Take it."""

    def zero(self, start: int, size: int) -> None:
        """Take it."""

    def flush(self) -> None:
        """Nothing is waiting."""

    def close(self) -> None:
        """Nothing is held."""


class NoiseOpener:
    """Opens disks of kind ``noise``; their locator is the number of seconds for which they are noisy."""

    def __init__(self, entropy: Callable[[int], bytes], monotonic: Callable[[], float]) -> None:
        self._entropy = entropy
        self._monotonic = monotonic

    def open_reader(self, ref: DiskRef) -> _Noise:
        """Open for reading; the time runs from here."""
        try:
            ends = self._monotonic() + float(ref.locator)
        except ValueError as error:
            raise errors.Invalid(
                "transfer.disk.kind",
                f"{ref.locator!r} is no number of seconds.",
                field="ref.locator",
                remedy=errors.REPORT,
            ) from error
        return _Noise(ref.size, self._entropy(_POOL), self._monotonic, ends)

    def open_writer(self, ref: DiskRef) -> _Void:
        """Refuse."""
        raise errors.Invalid(
            "transfer.disk.kind", "Noise cannot be written to.", field="ref.kind", remedy=errors.REPORT
        )


class VoidOpener:
    """Opens disks of kind ``void``."""

    def open_reader(self, ref: DiskRef) -> _Noise:
        """Refuse."""
        raise errors.Invalid(
            "transfer.disk.kind", "There is nothing in the void.", field="ref.kind", remedy=errors.REPORT
        )

    def open_writer(self, ref: DiskRef) -> _Void:
        """Open for writing."""
        return _Void(ref.size)
