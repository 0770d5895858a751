"""Disks that live in this process's memory: what the memory cloud keeps, and what fast tests copy between.

Sparse: only blocks that were written take memory. A disk is addressed by ``DiskRef(kind="memory",
locator="<store>/<name>")`` within one `MemoryDisks`, which is made once and handed to everybody who needs
it. Nothing survives the process, so everything written counts as durable.
"""

import threading
from collections.abc import Iterator

from crossport import errors
from crossport.model.artifact import DiskRef, Extent

__all__ = ["BLOCK", "MemoryDisks", "OpenMemoryDisk"]

BLOCK = 64 << 10


class _Disk:
    """The bytes of one disk, shared by everybody who has it open."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: dict[int, bytearray] = {}
        self.lock = threading.Lock()
        self.open: list[OpenMemoryDisk] = []


class OpenMemoryDisk:
    """One opening of a disk: a BlockReader, and a BlockWriter if it was opened for writing."""

    def __init__(self, disk: _Disk, *, writable: bool) -> None:
        self.size = disk.size
        self.writable = writable
        self.reads_as_zero = not disk.blocks
        self._disk = disk
        self._closed = False

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range: blocks that were never written are zero."""
        self._check(start, size)
        position, end = start, start + size
        while position < end:
            zero = position // BLOCK not in self._disk.blocks
            stop = position
            while stop < end and (stop // BLOCK not in self._disk.blocks) == zero:
                stop = (stop // BLOCK + 1) * BLOCK
            stop = min(stop, end)
            yield Extent(position, stop - position, zero)
            position = stop

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``."""
        self._check(start, len(buffer))
        with self._disk.lock:
            for number, offset, at, size in _pieces(start, len(buffer)):
                block = self._disk.blocks.get(number)
                buffer[at : at + size] = bytes(size) if block is None else block[offset : offset + size]

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        self._check_writable(start, len(data))
        with self._disk.lock:
            for number, offset, at, size in _pieces(start, len(data)):
                block = self._disk.blocks.setdefault(number, bytearray(BLOCK))
                block[offset : offset + size] = data[at : at + size]

    def zero(self, start: int, size: int) -> None:
        """Make the range read as zero; whole blocks are given back."""
        self._check_writable(start, size)
        with self._disk.lock:
            for number, offset, _, length in _touched(self._disk.blocks, start, size):
                if length == BLOCK:
                    del self._disk.blocks[number]
                else:
                    self._disk.blocks[number][offset : offset + length] = bytes(length)

    def flush(self) -> None:
        """Nothing to wait for: memory is as durable here as it gets."""
        self._check_writable(0, 0)

    def close(self) -> None:
        """Let go."""
        self._closed = True
        if self in self._disk.open:
            self._disk.open.remove(self)

    def _check_writable(self, start: int, size: int) -> None:
        self._check(start, size)
        if not self.writable:
            raise errors.Refused("memory.disk.readonly", "The disk was opened for reading only.")

    def _check(self, start: int, size: int) -> None:
        if self._closed:
            raise errors.Unavailable("memory.disk.closed", "The disk was closed.")
        if start < 0 or start + size > self.size:
            raise errors.Invalid(
                "memory.disk.beyond_end",
                f"Bytes {start} to {start + size} are not within the disk of {self.size} bytes.",
            )


class MemoryDisks:
    """All memory disks of one process, by locator (``<store>/<name>``)."""

    def __init__(self) -> None:
        self._disks: dict[str, _Disk] = {}

    def create(self, locator: str, size: int, content: bytes = b"") -> DiskRef:
        """Make a disk of ``size`` bytes that begins with ``content`` and is zero after it.

        Raise Conflict when the locator is taken.
        """
        if locator in self._disks:
            raise errors.Conflict("memory.disk.exists", f"There is a memory disk {locator} already.")
        self._disks[locator] = _Disk(size)
        ref = DiskRef(kind="memory", locator=locator, size=size)
        if content:
            writer = self.open_writer(ref)
            writer.write(0, content)
            writer.close()
        return ref

    def ref(self, locator: str) -> DiskRef:
        """Return the reference to a disk that exists."""
        return DiskRef(kind="memory", locator=locator, size=self._disk(locator).size)

    def open_reader(self, ref: DiskRef) -> OpenMemoryDisk:
        """Open a disk for reading. Raise NotFound."""
        return self._open(ref, writable=False)

    def open_writer(self, ref: DiskRef) -> OpenMemoryDisk:
        """Open a disk for writing. Raise NotFound."""
        return self._open(ref, writable=True)

    def cut_off(self, locator: str) -> None:
        """Close every opening of the disk: whoever reads or writes it gets Unavailable."""
        for opened in tuple(self._disk(locator).open):
            opened.close()

    def content(self, locator: str) -> bytes:
        """Return the whole disk; for disks that are small enough."""
        disk = self._disk(locator)
        return b"".join(
            bytes(disk.blocks.get(number, bytes(BLOCK))) for number in range(-(-disk.size // BLOCK))
        )[: disk.size]

    def copy(self, locator: str, to: str) -> DiskRef:
        """Make ``to`` a new disk with the same bytes: a snapshot, or an image put onto a volume."""
        disk = self._disk(locator)
        ref = self.create(to, disk.size)
        with disk.lock:
            self._disks[to].blocks = {number: bytearray(block) for number, block in disk.blocks.items()}
        return ref

    def clear(self, locator: str) -> None:
        """Cut off everybody and make the disk read as zero again."""
        self.cut_off(locator)
        self._disk(locator).blocks.clear()

    def remove(self, locator: str) -> None:
        """Cut off everybody and forget the disk. Not an error when it is gone."""
        if locator in self._disks:
            self.cut_off(locator)
            del self._disks[locator]

    def locators(self) -> tuple[str, ...]:
        """Return all locators, sorted."""
        return tuple(sorted(self._disks))

    def _open(self, ref: DiskRef, *, writable: bool) -> OpenMemoryDisk:
        if ref.kind != "memory":
            raise errors.Invalid(
                "transfer.disk.kind", f"A disk of kind {ref.kind} is not in memory.", field="ref.kind"
            )
        disk = self._disk(ref.locator)
        opened = OpenMemoryDisk(disk, writable=writable)
        disk.open.append(opened)
        return opened

    def _disk(self, locator: str) -> _Disk:
        disk = self._disks.get(locator)
        if disk is None:
            raise errors.NotFound("memory.disk.unknown", f"There is no memory disk {locator}.")
        return disk


def _pieces(start: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a range at block borders: block number, offset in it, offset in the range, size."""
    at = 0
    while at < size:
        number, offset = divmod(start + at, BLOCK)
        piece = min(BLOCK - offset, size - at)
        yield number, offset, at, piece
        at += piece


def _touched(blocks: dict[int, bytearray], start: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Return the pieces of the range whose block exists, without walking the holes one by one."""
    if size // BLOCK <= len(blocks):
        yield from [piece for piece in _pieces(start, size) if piece[0] in blocks]
        return
    end = start + size
    for number in sorted(blocks):
        first, last = max(start, number * BLOCK), min(end, (number + 1) * BLOCK)
        if first < last:
            yield number, first - number * BLOCK, first - start, last - first
