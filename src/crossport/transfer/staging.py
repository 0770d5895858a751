"""Bytes that are set aside in a file for a while, in order or by blocks, sealed under a key nobody else has.

The key is made with the staging and kept in memory alone. It goes when the staging is closed, or with the
process, and what lies in the file is noise from then on.
"""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from crossport import errors
from crossport.transfer.bounds import closed_disk
from crossport.units import size_text

__all__ = ["BLOCK", "Aside", "Shelf", "Staging"]

BLOCK = 256 << 10
_NONCE, _TAG = 12, 16
_KEY = 32
_RECORD = BLOCK + _NONCE + _TAG


@dataclass(frozen=True, slots=True)
class Aside:
    """The place for one disk that is set aside: the open file ``descriptor`` from ``base`` on.

    What lies there does not matter. The caller closes the file.
    """

    descriptor: int
    entropy: Callable[[int], bytes]
    base: int = 0

    def staging(self, limit: int) -> "Staging":
        """Return a staging for a stream of at most ``limit`` bytes."""
        return Staging(_Blocks(self), limit)

    def shelf(self, size: int) -> "Shelf":
        """Return a shelf for a disk of ``size`` bytes; raise Conflict unless there is room for it now."""
        blocks, count = _Blocks(self), -(-size // BLOCK)
        blocks.check_room(count)
        return Shelf(blocks, count)


class Staging:
    """Bytes in order, appended and read at offsets, by any thread. At most ``limit`` of them are taken."""

    def __init__(self, blocks: "_Blocks", limit: int) -> None:
        self._blocks = blocks
        self._limit = limit
        self._appending = threading.Lock()
        self._last = bytearray()
        self._sealed = 0

    @property
    def size(self) -> int:
        """How many bytes were appended."""
        return self._sealed * BLOCK + len(self._last)

    def append(self, data: bytes) -> None:
        """Take ``data``; raise Refused beyond the limit, Conflict when the file cannot grow."""
        with self._appending:
            if self.size + len(data) > self._limit:
                raise errors.Refused(
                    "transfer.staging.limit",
                    f"More than {self._limit} bytes are not set aside.",
                    remedy="Begin anew: the server sent more than it had said.",
                )
            self._last += data
            while len(self._last) >= BLOCK:
                block = bytes(self._last[:BLOCK])
                self._blocks.write(self._sealed, block)
                self._sealed, self._last = self._sealed + 1, self._last[BLOCK:]

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``; all of it must have been appended. Raise Unavailable when closed."""
        done = 0
        while done < len(buffer):
            number, skipped = divmod(start + done, BLOCK)
            block = self._block(number)
            piece = memoryview(block)[skipped : skipped + len(buffer) - done]
            buffer[done : done + len(piece)] = piece
            done += len(piece)

    def close(self) -> None:
        """Forget the key. May be called twice."""
        with self._appending:
            self._blocks.close()
            self._last = bytearray()

    def _block(self, number: int) -> bytes:
        with self._appending:
            if number >= self._sealed:
                self._blocks.check()
                return bytes(self._last)
        return self._blocks.read(number)


class Shelf:
    """A disk of ``count`` blocks, each of which may be put and taken often; by any thread.

    The caller sees to it that nobody puts the block that somebody else takes.
    """

    def __init__(self, blocks: "_Blocks", count: int) -> None:
        self.count = count
        self._blocks = blocks

    def put(self, number: int, block: bytes) -> None:
        """Keep a whole block; raise Conflict when the file cannot grow."""
        self._blocks.write(number, block)

    def take(self, number: int) -> bytes:
        """Return a block that was put. Raise Unavailable when closed."""
        return self._blocks.read(number)

    def close(self) -> None:
        """Forget the key. May be called twice."""
        self._blocks.close()


class _Blocks:
    """Sealed blocks in a file, by number. A block that is written again gets a nonce of its own."""

    def __init__(self, place: Aside) -> None:
        from crossport.transfer.stock_cipher import Cipher  # noqa: PLC0415 - only who stages pays for it

        self._place = place
        self._cipher: Cipher | None = Cipher(place.entropy(_KEY))

    def check_room(self, count: int) -> None:
        needed, facts = count * _RECORD, os.fstatvfs(self._place.descriptor)
        room = facts.f_bavail * facts.f_frsize
        if room < needed:
            raise errors.Conflict(
                "transfer.staging.room",
                f"To set the disk aside takes {size_text(needed)}, and {size_text(room)} are free.",
                remedy="Make room where temporary files lie (TMPDIR), then try again.",
            )

    def check(self) -> None:
        if self._cipher is None:
            raise closed_disk()

    def write(self, number: int, block: bytes) -> None:
        cipher = self._cipher
        if cipher is None:
            raise closed_disk()
        nonce = self._place.entropy(_NONCE)
        record = nonce + cipher.sealed(nonce, block, number)
        at = self._place.base + number * _RECORD
        try:
            while record:
                written = os.pwrite(self._place.descriptor, record, at)
                record, at = record[written:], at + written
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise errors.Conflict(
                "transfer.staging.full",
                f"What comes in order cannot be set aside ({error.strerror}).",
                remedy="Make room where temporary files lie (TMPDIR)." if full else "",
            ) from error

    def read(self, number: int) -> bytes:
        record = os.pread(self._place.descriptor, _RECORD, self._place.base + number * _RECORD)
        cipher = self._cipher
        if cipher is None:
            raise closed_disk()
        opened = cipher.opened(record[:_NONCE], memoryview(record)[_NONCE:], number)
        if opened is None:
            raise errors.Broken(
                "transfer.staging.spoiled",
                "What was set aside is not what it was.",
                remedy="Check the storage under temporary files, then try again.",
            )
        return opened

    def close(self) -> None:
        self._cipher = None
