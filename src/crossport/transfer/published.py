"""Images that the target's cloud publishes, as a place where chunks of a disk may be found.

A VM that was made from an image still has most of it, and has it where it was. So a chunk is looked for at
its own place in each image and nowhere else: nothing is read that is not asked for, and nothing is kept. An
image that has nothing of the disk is left alone after a few looks.
"""

import threading
from collections.abc import Sequence

from crossport import errors, merkle
from crossport.spi.block import BlockReader
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut
from crossport.transfer.names import BLOCK, BLOCK_NAME, Names

__all__ = ["LOOKS", "Published"]

LOOKS = 32
"""Chunks in a row that are looked for in vain before an image is left alone."""
_FOR_EACH_FOUND = 4
_MAPPED_AT_ONCE = 4096
"""Chunks of an image about which is asked at once whether it has data there."""


class Published:
    """Images open for reading. Any thread may call it. The caller closes the readers when it is over.

    What is returned was read and hashed at this moment: nothing is believed of an image.
    """

    def __init__(self, readers: Sequence[BlockReader], cut: Cut, names: Names) -> None:
        """Look for chunks of a disk that is ``cut`` so, by what ``names`` calls them."""
        self._cut = cut
        self._names = names
        self._images = [_Image(reader, cut) for reader in readers]

    def chunk(self, index: int, name: bytes) -> tuple[bytes, bytes] | None:
        """Return the chunk of this name and its leaf, None when no image has it at this place."""
        for image in self._images:
            content = image.at(index) if image.looks > 0 else None
            if content is None:
                continue
            leaf = merkle.leaf(memoryview(content))
            if self._names.name(leaf) == name:
                image.found()
                return bytes(content), leaf
            image.missed()
        return None

    def may_have(self, index: int) -> bool:
        """Say whether it is worth looking for blocks of this chunk."""
        return any(image.looks > 0 and image.has(index) for image in self._images)

    def fill(self, index: int, content: bytearray, names: bytes, missing: list[int]) -> list[int]:
        """Put those of the ``missing`` blocks of a chunk that an image has into ``content``; return the rest.

        ``names`` are those of all its blocks, one after the other.
        """
        for image in self._images:
            there = image.at(index) if missing and image.looks > 0 else None
            if there is None:
                continue
            left = list[int]()
            for number in missing:
                block = memoryview(there)[number * BLOCK : (number + 1) * BLOCK]
                if self._names.block(block) == names[number * BLOCK_NAME : (number + 1) * BLOCK_NAME]:
                    content[number * BLOCK : number * BLOCK + len(block)] = block
                else:
                    left.append(number)
            if 8 * (len(missing) - len(left)) >= len(missing):
                image.found()
            missing = left
        return missing


class _Image:
    """One image; ``looks`` says how often something may still be looked for in vain."""

    def __init__(self, reader: BlockReader, cut: Cut) -> None:
        self.looks = LOOKS
        self._reader = reader
        self._cut = cut
        self._count = min(cut.count, -(-reader.size // cut.chunk_size))
        self._data, self._mapped = Bits(cut.count), set[int]()
        self._changing = threading.Lock()

    def found(self) -> None:
        with self._changing:
            self.looks = min(LOOKS, max(self.looks, 0) + _FOR_EACH_FOUND)

    def missed(self) -> None:
        with self._changing:
            self.looks -= 1

    def has(self, index: int) -> bool:
        """Whether there is data at the place of a chunk, as far as the image says."""
        if index >= self._count:
            return False
        try:
            with self._changing:
                self._map(index // _MAPPED_AT_ONCE)
                return self._data[index]
        except errors.Error:
            self._leave()
            return False

    def at(self, index: int) -> bytearray | None:
        """Return what lies at the place of a chunk, None when there is nothing.

        Behind the image's end the disk of a VM made from it reads as zero.
        """
        if not self.has(index):
            return None
        start = self._cut.start(index)
        content = bytearray(self._cut.length(index))
        try:
            self._reader.read_into(start, memoryview(content)[: self._reader.size - start])
        except errors.Error:
            self._leave()
            return None
        return content

    def _leave(self) -> None:
        """Look for nothing more in an image that cannot be read: what it may have is sent instead."""
        self._count = 0

    def _map(self, part: int) -> None:
        if part in self._mapped:
            return
        first = part * _MAPPED_AT_ONCE
        start = self._cut.start(first)
        stop = min(self._reader.size, self._cut.start(min(first + _MAPPED_AT_ONCE, self._count)))
        chunk_size = self._cut.chunk_size
        for extent in self._reader.extents(start, stop - start):
            if not extent.zero and extent.size:
                at = extent.start // chunk_size
                self._data.fill(at, (extent.start + extent.size - 1) // chunk_size - at + 1)
        self._mapped.add(part)
