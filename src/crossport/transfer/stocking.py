"""Putting what arrived in a stock, beside the copy and never in its way."""

import queue
import threading
from typing import TypeAlias

from crossport.transfer.stock import Stock

__all__ = ["Stocking"]

_Chunk: TypeAlias = tuple[bytes, bytes | memoryview, bytes | bytearray | memoryview | None]
_PATIENCE_S = 1.0
_WAITING = 16
"""Chunks that wait to be put; what comes while so many do is left out."""


class Stocking:
    """A thread that puts chunks in a stock. One that the machine has no time for is left out.

    ``is_awaited`` says that other copies wait for them: then `add` waits for a moment instead.
    """

    def __init__(self, stock: Stock) -> None:
        self.is_awaited = False
        self._stock = stock
        self._waiting: queue.Queue[_Chunk | None]
        self._waiting = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._put_all, name="stocking", daemon=True)
        self._thread.start()

    def add(
        self, name: bytes, content: bytes | memoryview, packed: bytes | bytearray | memoryview | None
    ) -> None:
        """Take a chunk that was verified, and its zstd form if it came so. Neither may change any more."""
        try:
            self._waiting.put((name, content, packed), self.is_awaited, _PATIENCE_S)
        except queue.Full:
            self._stock.table.give_up(name)

    def end(self) -> None:
        """Put what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _put_all(self) -> None:
        room = True
        while (taken := self._waiting.get()) is not None:
            name = taken[0]
            try:
                if room:
                    self._stock.put(*taken)
            except OSError:
                room = False  # the disk is full: a stock is no reason to stop
            if not room:
                self._stock.table.give_up(name)
