"""A disk whose service takes bytes in order only, once: it is written at offsets by way of a staging.

Blocks are set aside as they come, and a thread hands them over in order. When the service breaks off it is
begun again, and fed from what was set aside: nothing comes over the link a second time. In memory are one
block at a time, and two bits for each.
"""

import threading
from collections.abc import Callable, Iterator

from crossport import errors
from crossport.spi.block import StreamWriter
from crossport.transfer.bits import Bits
from crossport.transfer.bounds import check_range
from crossport.transfer.retry import Patience
from crossport.transfer.staging import BLOCK, Shelf

__all__ = ["StagedWriter"]

_ZEROS = bytes(BLOCK)


class StagedWriter:
    """A BlockWriter over a stream of ``size`` bytes, which ``begin`` begins at its first one.

    The disk is handed over when all of it was written or zeroed, and flushed then. That flush returns when
    the service has it; until then what comes may be written anew.
    """

    def __init__(
        self,
        begin: Callable[[], StreamWriter],
        size: int,
        shelf: Shelf,
        *,
        patience: Patience | None = None,
        look: Callable[[], str] = lambda: "",
    ) -> None:
        """Close ``shelf`` with it. ``look`` says in a sentence what the service has, as far as it tells."""
        self.size = size
        self.reads_as_zero = False  # whoever writes says where the holes are
        self._begin = begin
        self._look = look
        self._shelf = shelf
        self._patience = patience or Patience()
        self._change = threading.Condition()
        self._held, self._covered = Bits(shelf.count), Bits(shelf.count)
        self._parts: dict[int, list[tuple[int, int]]] = {}
        self._stream: StreamWriter | None = None
        self._feeding: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._fed = self._furthest = 0
        self._stale = self._flushed = self._ending = self._taken = self._closed = False
        self._unanswered = False

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Set ``data`` aside until its turn has come. Raise what stopped the service."""
        with self._change:
            self._check(start, len(data))
            at = 0
            for number, offset, size in _pieces(start, len(data)):
                self._put(number, offset, bytes(data[at : at + size]))
                at += size
            self._go_on()

    def zero(self, start: int, size: int) -> None:
        """Remember that the range is zero."""
        end = start + size
        with self._change:
            self._check(start, size)
            first = -(-start // BLOCK)
            last = self._shelf.count if end == self.size else end // BLOCK
            if first < last:
                self._clear(first, last - first)
                edges = [(start, first * BLOCK - start), (last * BLOCK, max(0, end - last * BLOCK))]
            else:
                edges = [(start, size)]
            for at, length in edges:
                for number, offset, part in _pieces(at, length):
                    self._put(number, offset, bytes(part))
            self._go_on()

    def flush(self) -> None:
        """Return when everything is set aside; once the whole disk is, when the service has it."""
        with self._change:
            self._check(0, 0)
            if not self._covered.all_set(0, self._covered.count):
                return
            self._flushed = True
            self._go_on()
            self._change.wait_for(lambda: self._taken or self._failed or self._closed)
            self._check(0, 0)

    def close(self) -> None:
        """Let go of the service and of what was set aside."""
        with self._change:
            self._closed = True
            stream = self._stream
            self._change.notify_all()
        if stream is not None:
            stream.close()
        self._shelf.close()

    def _check(self, start: int, size: int) -> None:
        check_range(start, size, self.size, closed=self._closed)
        if self._failed is not None:
            raise self._failed

    def _put(self, number: int, offset: int, data: bytes) -> None:
        old = self._shelf.take(number) if self._held[number] else _ZEROS
        new = old[:offset] + data + old[offset + len(data) :]
        if old != new:
            self._spoil(number)
            self._shelf.put(number, new)
            self._held.fill(number, 1)
        self._cover(number, offset, offset + len(data))

    def _clear(self, first: int, count: int) -> None:
        for start, _, held in self._held.runs(first, count):
            if held:
                self._spoil(start)
                break
        self._held.fill(first, count, value=False)
        self._covered.fill(first, count)
        for number in [number for number in self._parts if first <= number < first + count]:
            del self._parts[number]

    def _spoil(self, number: int) -> None:
        """Have the stream begun anew when it was given what is written over now."""
        if number >= self._fed:
            return
        if self._ending:
            raise errors.Conflict(
                "transfer.stream.taken",
                "The disk was handed over, and what it holds changed after that.",
                remedy="Make sure that nothing writes to the source, then copy it again.",
            )
        self._stale = True

    def _cover(self, number: int, start: int, end: int) -> None:
        if self._covered[number]:
            return
        apart = list[tuple[int, int]]()
        for low, high in self._parts.pop(number, ()):
            if high < start or low > end:
                apart.append((low, high))
            else:
                start, end = min(low, start), max(high, end)
        if (start, end) == (0, self._length(number)):
            self._covered.fill(number, 1)
        else:
            self._parts[number] = [*apart, (start, end)]

    def _length(self, number: int) -> int:
        return min(BLOCK, self.size - number * BLOCK)

    def _go_on(self) -> None:
        if self._feeding is None and self._covered[0]:
            self._feeding = threading.Thread(target=self._feed, name="feed", daemon=True)
            self._feeding.start()
        self._change.notify_all()

    def _feed(self) -> None:
        """Hand the disk over, in a thread of its own, however often the service breaks off on the way."""
        pauses, reached = self._patience.pauses(), 0
        while True:
            try:
                if self._handed_over():
                    return
                continue
            except errors.Unavailable as error:
                self._unanswered |= self._ending
                if self._furthest > reached:
                    pauses, reached = self._patience.pauses(), self._furthest
                pause = next(pauses, None)
                if pause is None:
                    self._fail(error)
                    return
            except BaseException as error:  # noqa: BLE001 - it is raised by whoever writes next, or waits
                self._fail(self._meaning(error))
                return
            with self._change:
                if self._change.wait_for(lambda: self._closed, pause):
                    return

    def _meaning(self, error: BaseException) -> BaseException:
        """Return what ``error`` means after a whole disk was given, and nobody said that it came."""
        if not (self._unanswered and isinstance(error, errors.Refused)):
            return error
        text = (
            f"The whole disk was given, nobody said that it came, and another one is declined: {error.text}"
        )
        return errors.Conflict(
            "transfer.stream.unanswered",
            f"{text} {self._look()}".rstrip(),
            field=error.field,
            remedy="It is probably there. Compare it with the source; or delete it there, then copy again.",
        )

    def _fail(self, error: BaseException) -> None:
        with self._change:
            self._failed = error
            self._change.notify_all()

    def _handed_over(self) -> bool:
        """Feed the service from the first block on; return whether there is nothing left to do."""
        with self._change:
            # Not before there is more than it was given the last time: it would wait, and may break again.
            needed = min(self._furthest, self._shelf.count - 1)
            self._change.wait_for(lambda: self._closed or self._covered[needed])
            if self._closed:
                return True
            self._fed, self._stale, self._ending = 0, False, False
        stream = self._begin()
        try:
            with self._change:
                self._stream = stream
            for number in range(self._shelf.count):
                block = self._next(number)
                if block is None:
                    return self._closed
                stream.write(block)
                self._furthest = max(self._furthest, number + 1)
            return self._finished(stream)
        finally:
            stream.close()

    def _next(self, number: int) -> memoryview | None:
        """Return a block as soon as it is there, None when the stream is of no use any more."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._stale or self._covered[number])
            if self._closed or self._stale:
                return None
            self._fed = number + 1
            block = self._shelf.take(number) if self._held[number] else _ZEROS
        return memoryview(block)[: self._length(number)]

    def _finished(self, stream: StreamWriter) -> bool:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._stale or self._flushed)
            if self._closed or self._stale:
                return self._closed
            self._ending = True
        stream.finish()
        with self._change:
            self._taken = True
            self._change.notify_all()
        return True


def _pieces(start: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range at the borders of blocks: number, offset in it, size."""
    while size:
        number, offset = divmod(start, BLOCK)
        part = min(BLOCK - offset, size)
        yield number, offset, part
        start, size = start + part, size - part
