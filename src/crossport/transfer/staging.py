"""Bytes that are set aside in a file for a while, sealed under a key that nobody else has.

The key is made with the staging and kept in memory alone. It goes when the staging is closed, or with the
process, and what lies in the file is noise from then on.
"""

import errno
import os
import threading
from collections.abc import Callable

from crossport import errors
from crossport.transfer.bounds import closed_disk

__all__ = ["BLOCK", "Staging"]

BLOCK = 256 << 10
_NONCE, _TAG = 12, 16
_KEY = 32


class Staging:
    """Bytes in order, appended and read at offsets, by any thread. At most ``limit`` of them are taken."""

    def __init__(self, descriptor: int, limit: int, entropy: Callable[[int], bytes]) -> None:
        """Use the open file ``descriptor``, whose content does not matter; the caller closes it."""
        from crossport.transfer.stock_cipher import Cipher  # noqa: PLC0415 - only who stages pays for it

        self._descriptor = descriptor
        self._limit = limit
        self._entropy = entropy
        self._cipher: Cipher | None = Cipher(entropy(_KEY))
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
                self._write(self._sealed, block)
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
            self._cipher, self._last = None, bytearray()

    def _block(self, number: int) -> bytes:
        with self._appending:
            if number >= self._sealed:
                if self._cipher is None:
                    raise closed_disk()
                return bytes(self._last)
        return self._read(number)

    def _write(self, number: int, block: bytes) -> None:
        if self._cipher is None:
            raise closed_disk()
        nonce = self._entropy(_NONCE)
        record = nonce + self._cipher.sealed(nonce, block, number)
        at = number * (BLOCK + _NONCE + _TAG)
        try:
            while record:
                written = os.pwrite(self._descriptor, record, at)
                record, at = record[written:], at + written
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise errors.Conflict(
                "transfer.staging.full",
                f"What comes in order cannot be set aside ({error.strerror}).",
                remedy="Make room where temporary files lie (TMPDIR)." if full else "",
            ) from error

    def _read(self, number: int) -> bytes:
        size = BLOCK + _NONCE + _TAG
        record = os.pread(self._descriptor, size, number * size)
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
