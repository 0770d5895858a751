"""Where content lies in a stock: a table in a file that the workers of one tenant use at the same time.

The file is mapped into memory: a few words, then buckets of four entries, a key and a place each. Nobody
locks what is looked up: an entry is a hint. Whoever follows it checks what lies there, so that one that is
old, torn or wrong costs no more than not having it. Who may write where is decided under a lock.
"""

import fcntl
import mmap
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

__all__ = ["MOST", "SEGMENT", "UNIT", "WHOLE", "Table", "index_size"]

UNIT = 4 << 10
SEGMENT = 8 << 20
"""Bytes that a worker gets for itself at a time."""
MOST = 1 << 40
"""The largest size of a stock; its units fit into the words of the table."""
WHOLE = 0xFFFF
"""In place of the number of a block: the chunk as such."""
LIVE_S = 10.0
"""A session that was not heard of for so long is over."""
_WORD = 8
_UNITS, _NEXT, _EVER = 1, 2, 3
_SESSIONS, _FIRST_SESSION = 64, 64
_FIRST_ENTRY = 512
_BUCKET = 4
_CLAIM, _NAMED = 1 << 63, 1 << 62
_PER_ENTRY = 1 << 10  # bytes of the stock for each entry: packed, a block takes less than half of its size
_MOST_ENTRIES = 1 << 22


def index_size(size: int) -> int:
    """Return how large the file is for a stock of ``size`` bytes."""
    entries = min(1 << max(10, (size // _PER_ENTRY - 1).bit_length()), _MOST_ENTRIES)
    return (_FIRST_ENTRY + 2 * entries) * _WORD


class Table:
    """The table of one stock, as one session sees it. Any thread may call it."""

    def __init__(self, descriptor: int, size: int, now: Callable[[], float]) -> None:
        """Map the file, which is as large as `index_size` says for ``size``; ``now`` counts seconds.

        All sessions read the same clock.
        """
        self._descriptor = descriptor
        self._now = now
        self._words = memoryview(mmap.mmap(descriptor, index_size(size))).cast("Q")
        self._units = size // SEGMENT * (SEGMENT // UNIT)
        self._mask = (len(self._words) - _FIRST_ENTRY) // 2 - 1
        self._turn = 0
        self._session = 0
        self._generation = 0

    def begin(self) -> None:
        """Begin a session: what it claims counts as long as it is heard of, see `beat`."""
        self.end()
        with self._locked():
            words = self._words
            words[_EVER] += 1
            self._generation = words[_EVER] & 0xFFFFFFFF
            slots = range(_FIRST_SESSION, _FIRST_SESSION + 2 * _SESSIONS, 2)
            self._session = next((slot for slot in slots if not self._is_live(slot)), 0)
            if self._session:
                words[self._session] = self._generation
        self.beat()

    def beat(self) -> None:
        """Show the others that this session goes on."""
        if self._session:
            self._words[self._session + 1] = int(self._now() * 1000)

    def end(self) -> None:
        """End the session: nobody waits for what it claimed."""
        if self._session:
            self._words[self._session + 1] = 0
            self._session = 0

    @property
    def has_company(self) -> bool:
        """Whether another session goes on now."""
        slots = range(_FIRST_SESSION, _FIRST_SESSION + 2 * _SESSIONS, 2)
        return any(slot != self._session and self._is_live(slot) for slot in slots)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever put there."""
        return not self._words[_NEXT]

    def segment(self) -> int:
        """Return the unit where a segment begins that only this session writes, the oldest there is."""
        with self._locked():
            first = self._words[_NEXT] % self._units
            self._words[_NEXT] += SEGMENT // UNIT
            return first

    def put(self, key: bytes, unit: int, units: int, number: int = WHOLE) -> None:
        """Say where something lies: ``units`` from ``unit``, there block ``number``."""
        self._set(key, unit << 32 | units << 16 | number)

    def find(self, key: bytes) -> tuple[int, int, int] | None:
        """Return where something lies, if that is known."""
        value = self._get(key)
        if not value or value & _CLAIM:
            return None
        return _unpacked(value)

    def unnamed(self) -> Iterator[tuple[bytes, tuple[int, int, int]]]:
        """Return the chunks whose blocks cannot be found yet: their keys, and where they lie."""
        words = self._words
        for number, value in enumerate(words[_FIRST_ENTRY + 1 :: 2]):
            if value & 0xFFFF == WHOLE and not value & (_CLAIM | _NAMED):
                yield words[_FIRST_ENTRY + 2 * number].to_bytes(_WORD), _unpacked(value)

    def named(self, key: bytes, unit: int, units: int) -> None:
        """Take note that the blocks of a chunk can be found."""
        self._set(key, _NAMED | unit << 32 | units << 16 | WHOLE)

    def claim(self, key: bytes) -> bool:
        """Say that this session is about to get something; return False when another one is."""
        value = self._get(key)
        if value & _CLAIM and self._is_claimed(value):
            return False
        if self._session:
            self._set(key, _CLAIM | self._session << 32 | self._generation)
        return True

    def give_up(self, key: bytes) -> None:
        """Take back what `claim` said."""
        if self._session and self._get(key) == _CLAIM | self._session << 32 | self._generation:
            self._set(key, 0)

    def _is_claimed(self, value: int) -> bool:
        slot = value >> 32 & 0x7FFFFFFF
        if not _FIRST_SESSION <= slot < _FIRST_SESSION + 2 * _SESSIONS:
            return False
        return self._words[slot] == value & 0xFFFFFFFF and self._is_live(slot)

    def _is_live(self, slot: int) -> bool:
        # One that was heard of later than now is from before the machine was started.
        beat = self._words[slot + 1]
        return bool(beat) and 0 <= self._now() * 1000 - beat < LIVE_S * 1000

    def _get(self, key: bytes) -> int:
        wanted, first = self._bucket(key)
        for at in range(first, first + 2 * _BUCKET, 2):
            if self._words[at] == wanted:
                return self._words[at + 1]
        return 0

    def _set(self, key: bytes, value: int) -> None:
        wanted, first = self._bucket(key)
        words, free = self._words, 0
        for at in range(first, first + 2 * _BUCKET, 2):
            if words[at] == wanted:
                words[at + 1] = value
                return
            if not free and not words[at]:
                free = at
        if not free:
            self._turn += 1
            free = first + 2 * (self._turn % _BUCKET)
        # Without its key while it changes, so that nobody takes the new place for what the old key meant.
        words[free] = 0
        words[free + 1] = value
        words[free] = wanted

    def _bucket(self, key: bytes) -> tuple[int, int]:
        wanted = int.from_bytes(key[:_WORD]) or 1
        return wanted, _FIRST_ENTRY + 2 * (wanted & self._mask & ~(_BUCKET - 1))

    @contextmanager
    def _locked(self) -> Generator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _unpacked(value: int) -> tuple[int, int, int]:
    return (value & ~_NAMED) >> 32, value >> 16 & 0xFFFF, value & 0xFFFF
