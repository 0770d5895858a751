"""Putting what arrived in a stock, beside the copy and hardly ever in its way."""

import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

from crossport.transfer.stock import Stock

__all__ = ["Stocking"]

_Chunk: TypeAlias = tuple[bytes, bytes | memoryview, bytes | bytearray | memoryview | None]
_WAITING = 64
"""Chunks that wait to be put."""
_WAIT_S, _AWAITED_S = 0.02, 1.0
"""How long a copy waits for the stock, in each second; and when other copies wait for the chunk."""


class Stocking:
    """A thread that puts chunks in a stock. One that the machine has no time for is left out.

    ``is_awaited`` says that other copies wait for what is put.
    """

    def __init__(self, stock: Stock, now: Callable[[], float]) -> None:
        self.is_awaited = False
        self._stock = stock
        self._now = now
        self._hurries_until = 0.0
        self._waiting: queue.Queue[_Chunk | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._put_all, name="stocking", daemon=True)
        self._thread.start()

    def add(
        self, name: bytes, content: bytes | memoryview, packed: bytes | bytearray | memoryview | None
    ) -> None:
        """Take a chunk that was verified, and its zstd form if it came so. Neither may change any more."""
        wait_s = _AWAITED_S if self.is_awaited else _WAIT_S
        waits = self.is_awaited or self._now() >= self._hurries_until
        try:
            self._waiting.put((name, content, packed), waits, wait_s)
        except queue.Full:
            self._hurries_until = self._now() + 1.0
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
