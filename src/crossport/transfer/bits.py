"""One bit for each chunk of a disk: compact, and quick over long runs."""

import re
from collections.abc import Iterator

__all__ = ["Bits"]

# By the value that a byte is full of: the first byte that is not.
_OTHER = {False: re.compile(rb"[^\x00]", re.DOTALL), True: re.compile(rb"[^\xff]", re.DOTALL)}


class Bits:
    """``count`` bits, all clear at first. Not thread-safe."""

    def __init__(self, count: int, raw: bytes = b"") -> None:
        """Take the bits from ``raw``, as `raw` has them."""
        self.count = count
        self.raw = bytearray(-(-count // 8))
        self.raw[: len(raw)] = raw[: len(self.raw)]
        if count % 8:
            self.raw[-1] &= (1 << count % 8) - 1

    def __getitem__(self, index: int) -> bool:
        return bool(self.raw[index >> 3] >> (index & 7) & 1)

    def fill(self, first: int, count: int, *, value: bool = True) -> None:
        """Set or clear ``count`` bits from ``first``."""
        stop = first + count
        while first < stop and first & 7:
            first = self._put(first, value=value)
        whole = (stop - first) >> 3
        if whole > 0:
            self.raw[first >> 3 : (first >> 3) + whole] = (b"\xff" if value else b"\0") * whole
            first += whole << 3
        while first < stop:
            first = self._put(first, value=value)

    def total(self) -> int:
        """Return how many bits are set."""
        return int.from_bytes(self.raw).bit_count()

    def all_set(self, first: int, count: int) -> bool:
        """Say whether ``count`` bits from ``first`` are set."""
        return next(self.runs(first, count), (first, 0, True)) == (first, count, True) or not count

    def none_set(self, first: int, count: int) -> bool:
        """Say whether none of ``count`` bits from ``first`` is set."""
        if count == 1:  # by far the most common, and asked for each chunk
            return not self[first]
        return next(self.runs(first, count), (first, 0, False)) == (first, count, False) or not count

    def runs(self, first: int, count: int) -> Iterator[tuple[int, int, bool]]:
        """Cover the range with runs (first, count, value) of equal bits, as long as can be."""
        stop = first + count
        while first < stop:
            value = self[first]
            end = self._differs(first + 1, stop, value=value)
            yield first, end - first, value
            first = end

    def _put(self, index: int, *, value: bool) -> int:
        if value:
            self.raw[index >> 3] |= 1 << (index & 7)
        else:
            self.raw[index >> 3] &= ~(1 << (index & 7)) & 0xFF
        return index + 1

    def _differs(self, index: int, stop: int, *, value: bool) -> int:
        """Return where the first bit from ``index`` is that is not ``value``, at most ``stop``."""
        while index < stop:
            if not index & 7:
                found = _OTHER[value].search(self.raw, index >> 3)
                if found is None or found.start() << 3 >= stop:
                    return stop
                index = found.start() << 3
            if self[index] is not value:
                return index
            index += 1
        return stop
