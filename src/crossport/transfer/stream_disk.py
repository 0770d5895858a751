"""A disk whose bytes come in order only, once: it is read at offsets by way of a staging.

The stream is pulled as far as somebody wants to read, and no further. When it breaks it is begun again and
passed up to where it had come, and what comes has to be the same as before.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from crossport import errors
from crossport.model.artifact import Extent
from crossport.transfer.bounds import check_range, closed_disk
from crossport.transfer.retry import Patience
from crossport.transfer.staging import Staging

__all__ = ["Stream", "StreamReader"]

_PIECE = 256 << 10


class Stream(Protocol):
    """Bytes in order."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none at the end. Raise Unavailable when it breaks."""
        ...

    def close(self) -> None:
        """Let go, and end a read in another thread. May be called twice."""
        ...


class StreamReader:
    """A BlockReader over a stream of ``size`` bytes, which ``begin`` begins at its first one."""

    def __init__(
        self,
        begin: Callable[[], Stream],
        size: int,
        staging: Staging,
        *,
        sleep: Callable[[float], None],
        patience: Patience | None = None,
    ) -> None:
        """Close ``staging`` with it."""
        self.size = size
        self._begin = begin
        self._staging = staging
        self._sleep = sleep
        self._patience = patience or Patience()
        self._pulling = threading.Lock()
        self._stream: Stream | None = None
        self._come = hashlib.sha256()
        self._closed = False

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range: a stream does not tell holes."""
        self._check(start, size)
        if size:
            yield Extent(start, size)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``, after pulling the stream up to there."""
        self._check(start, len(buffer))
        self._pull(start + len(buffer))
        self._staging.read_into(start, buffer)

    def close(self) -> None:
        """Let go of the stream and of what was set aside."""
        self._closed = True
        stream = self._stream
        if stream is not None:
            stream.close()
        self._staging.close()

    def _pull(self, end: int) -> None:
        with self._pulling:
            pauses = self._patience.pauses()
            while self._staging.size < end:
                before = self._staging.size
                try:
                    self._pull_on(end)
                except errors.Unavailable:
                    self._drop()
                    if self._staging.size > before:
                        pauses = self._patience.pauses()
                    pause = next(pauses, None)
                    if self._closed or pause is None:
                        raise
                    self._sleep(pause)

    def _pull_on(self, end: int) -> None:
        stream = self._stream = self._stream or self._begun()
        while self._staging.size < end:
            piece = stream.read(min(_PIECE, self.size - self._staging.size))
            if not piece:
                raise errors.Broken(
                    "transfer.source.short",
                    f"The source ended after {self._staging.size} bytes, not {self.size} as was said.",
                    remedy="Begin a new run: the disk changed its size after the run had looked at it.",
                )
            self._come.update(piece)
            self._staging.append(piece)

    def _begun(self) -> Stream:
        """Begin the stream, and pass what had come of it."""
        if self._closed:
            raise closed_disk()
        stream, again, left = self._begin(), hashlib.sha256(), self._staging.size
        self._stream = stream
        while left and (piece := stream.read(min(_PIECE, left))):
            again.update(piece)
            left -= len(piece)
        if again.digest() != self._come.digest():
            raise errors.Broken(
                "transfer.source.changed",
                "The source broke off, and begins with other bytes now.",
                remedy="Copy it anew from the beginning.",
            )
        return stream

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _check(self, start: int, size: int) -> None:
        check_range(start, size, self.size, closed=self._closed)
