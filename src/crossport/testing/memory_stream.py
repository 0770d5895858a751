"""An image service in memory: it takes disks in order, keeps what was finished, and breaks when told."""

import threading

from crossport import errors

__all__ = ["MemoryService", "MemoryStream"]


class MemoryService:
    """What was kept, the last upload of each, in ``kept``. ``breaks`` are used up, one by each upload.

    An upload breaks off once it has taken so many bytes; after the last of them nothing breaks any more.
    ``held_up`` lets uploads wait at their next write while it is clear.
    """

    def __init__(self, *breaks: int) -> None:
        self.kept: list[bytes] = []
        self.breaks = list(breaks)
        self.begun = 0
        self.taken = 0
        self.held_up = threading.Event()
        self.held_up.set()

    def begin(self, size: int) -> "MemoryStream":
        """Begin an upload of ``size`` bytes."""
        self.begun += 1
        return MemoryStream(self, size, self.breaks.pop(0) if self.breaks else None)


class MemoryStream:
    """One upload: a StreamWriter."""

    def __init__(self, service: MemoryService, size: int, breaks_at: int | None) -> None:
        self.size = size
        self._service = service
        self._breaks_at = breaks_at
        self._content = bytearray()
        self._closed = threading.Event()
        self._finished = False

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        while not (self._closed.is_set() or self._service.held_up.wait(0.01)):
            continue
        self._check()
        if len(self._content) + len(data) > self.size:
            raise errors.Invalid("memory.stream.beyond_end", f"More than {self.size} bytes came.")
        if self._breaks_at is not None and len(self._content) + len(data) > self._breaks_at:
            raise errors.Unavailable("memory.stream.broken", "The service broke off.")
        self._content += data
        self._service.taken += len(data)

    def finish(self) -> None:
        """Keep the disk."""
        self._check()
        if len(self._content) < self.size:
            raise errors.Invalid("memory.stream.unfinished", f"Fewer than {self.size} bytes came.")
        if not self._finished:
            self._finished = True
            self._service.kept.append(bytes(self._content))

    def close(self) -> None:
        """Let go."""
        self._closed.set()

    def _check(self) -> None:
        if self._closed.is_set():
            raise errors.Unavailable("memory.stream.closed", "The stream was closed.")
