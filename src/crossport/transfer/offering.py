"""The chunks that one connection of a sender has offered, with their content until they were answered."""

from collections.abc import Iterator

from crossport.transfer.frame import Verdict, malformed
from crossport.transfer.names import BLOCK, block_count
from crossport.transfer.plan import COMPARED_AT_ONCE
from crossport.transfer.prospect import IN_VAIN, Prospect

__all__ = ["Offering"]

_OPEN_MOST = 512
"""Fewer than a receiver allows."""


class Offering:
    """Chunks by their numbers. At most ``room`` bytes of content wait in memory.

    ``prospect`` hears what is found, and says what is offered at all.
    """

    def __init__(self, room: int, prospect: Prospect) -> None:
        self.is_on = False
        self._room = room
        self._prospect = prospect
        self._size = 0
        self._first = 0
        self._names = bytearray()
        self._count = 0
        self._open: dict[int, tuple[bytes, bytes]] = {}
        self._late = set[int]()
        self._answered = self._sent = 0

    def __bool__(self) -> bool:
        return bool(self._open or self._late)

    @property
    def is_mostly_found(self) -> bool:
        """Whether so little of what is offered must be sent that there is time to pack it well."""
        return 4 * self._sent < self._answered

    @property
    def is_full(self) -> bool:
        """Whether answers must come before more is offered."""
        most = IN_VAIN if self._prospect.is_open else _OPEN_MOST
        return self._size > self._room or len(self._open) >= most

    def takes(self, count: int) -> bool:
        """Say whether the next ``count`` chunks are to be offered."""
        return self.is_on and self._prospect.takes(count)

    def begin(self) -> None:
        """Offer everything from now on: another copy may wait for what is offered here."""
        self.is_on = True
        self._prospect.insist()

    def add(self, index: int, name: bytes, content: memoryview) -> tuple[int, bytes] | None:
        """Take a chunk into what is offered next; return what is to be offered now because it is apart."""
        apart = self.batch() if self._count and index != self._first + self._count else None
        if not self._count:
            self._first = index
        self._names += name
        self._count += 1
        self._open[index] = (name, bytes(content))
        self._size += len(content)
        return apart

    def batch(self) -> tuple[int, bytes] | None:
        """Return the first number and the names of what was added since the last batch, if there is any."""
        if not self._count:
            return None
        names, self._names, self._count = bytes(self._names), bytearray(), 0
        return self._first, names

    @property
    def is_batch_full(self) -> bool:
        """Whether no more fits into a batch."""
        return self._count >= COMPARED_AT_ONCE

    def verdicts(self, first: int, said: bytes) -> Iterator[tuple[int, Verdict]]:
        """Read what a receiver says; raise Broken for what answers no offer."""
        for index, value in enumerate(said, first):
            late = index in self._late
            if value not in Verdict.__members__.values() or (index not in self._open and not late):
                raise malformed(f"WANT says {value} to chunk {index}, which was not offered")
            if late and value in {Verdict.BLOCKS, Verdict.LATER}:
                raise malformed(f"WANT says {value} once more to chunk {index}")
            if value != Verdict.BLOCKS and not (late and value == Verdict.WHOLE):
                self._prospect.answered(0.0 if value == Verdict.WHOLE else 1.0)
            yield index, Verdict(value)

    def picked(self, index: int, bits: bytes) -> bytes:
        """Return the blocks of a chunk that the receiver picks, and take note of how many it found."""
        content = self.content(index)
        blocks = _picked(content, bits) if bits else b""
        self._prospect.answered(1 - len(blocks) / len(content))
        return blocks

    def content(self, index: int) -> bytes:
        """Return the content of a chunk that waits to be picked from; raise Broken when there is none."""
        if index not in self._open:
            raise malformed(f"chunk {index} was not offered")
        return self._open[index][1]

    def take(self, index: int) -> tuple[bytes, bytes] | None:
        """Let go of a chunk; return its name and content, None when it was let go of to wait for others."""
        if index in self._late:
            self._late.remove(index)
            return None
        found = self._open.pop(index)
        self._size -= len(found[1])
        self._answered += len(found[1])
        return found

    def sends(self, size: int) -> None:
        """Take note of how much of a chunk is sent."""
        self._sent += size

    def passes(self, size: int) -> None:
        """Take note of a chunk that is sent without an offer."""
        self._answered += size
        self._sent += size

    def wait(self, index: int) -> None:
        """Let go of the content of a chunk that another copy may bring."""
        self.take(index)
        self._late.add(index)


def _picked(content: bytes, bits: bytes) -> bytes:
    """Return the blocks of a chunk whose bits are set; raise Broken when these are not bits of its blocks."""
    count = block_count(len(content))
    number = int.from_bytes(bits, "little")
    if len(bits) != -(-count // 8) or number >> count:
        raise malformed("PICK names blocks that the chunk has not")
    return b"".join(content[at * BLOCK : (at + 1) * BLOCK] for at in range(count) if number >> at & 1)
