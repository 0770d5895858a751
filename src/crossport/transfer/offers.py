"""What a receiver makes of chunks that are offered on one connection: it takes what is in its stock.

Everything found is checked by the chunk's own name before it is written. A chunk that another copy is about
to bring is looked for again later, by another thread: until a verdict was said, a chunk belongs to that one,
and afterwards to the thread that receives.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from crossport import merkle
from crossport.transfer.chunk import Cut
from crossport.transfer.frame import Verdict, malformed
from crossport.transfer.names import BLOCK, BLOCK_NAME, NAME, Names, block_count
from crossport.transfer.published import Published
from crossport.transfer.stock import Stock

__all__ = ["LATE_MOST", "OPEN_MOST", "Found", "Offers", "Place", "Room"]

OPEN_MOST = 1024
"""Chunks that may be offered on a connection and wait for what the sender says next."""
LATE_MOST = 2048
"""Chunks of a connection that may wait for other copies."""
_SAID_MOST = 32
PATIENCE_S = 10.0
"""When other copies brought nothing that is waited for, for so long, it is sent after all."""


class Place(Protocol):
    """Where chunks go."""

    def take(self, first: int, count: int) -> None:
        """Let a frame have a range; raise Broken when another had some of it."""
        ...

    def write(self, index: int, content: bytes | memoryview) -> None:
        """Write one chunk anew, of content that was found."""
        ...

    def keep(self, name: bytes, content: bytes | memoryview) -> None:
        """Put a chunk in the stock."""
        ...


@dataclass(slots=True)
class _Offer:
    name: bytes
    verdict: Verdict
    since: float
    leaf: bytes = b""
    content: bytearray = field(default_factory=bytearray)
    picked: list[int] = field(default_factory=list[int])


class Room:
    """Memory for chunks that were found in part and wait for the rest, of all connections."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._taking = threading.Lock()

    def take(self, size: int) -> bool:
        """Take so much if there is as much."""
        with self._taking:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._taking:
            self._left += size


@dataclass(frozen=True, slots=True)
class Found:
    """Where content is found: ``await_blocks`` waits until blocks can be, ``count`` counts bytes not sent.

    ``is_promising`` says whether the stock has, or will have, what this very copy has not brought.
    """

    stock: Stock
    room: Room
    await_blocks: Callable[[], None]
    count: Callable[[int], None]
    is_promising: Callable[[], bool] = lambda: True
    published: Published | None = None


class Offers:
    """The chunks that are offered on one connection."""

    def __init__(self, found: Found, names: Names, cut: Cut, place: Place) -> None:
        self._stock = found.stock
        self._await_blocks = found.await_blocks
        self._is_promising = found.is_promising
        self._published = found.published
        self._names = names
        self._cut = cut
        self._place = place
        self._found = found.count
        self._open: dict[int, _Offer] = {}
        self._fresh: dict[int, _Offer] = {}
        self._late: dict[int, _Offer] = {}
        self._room = found.room
        self._came = 0.0
        self._changing = threading.Lock()
        self._zero_block = names.block(bytes(BLOCK))

    def take(self, first: int, names: bytes, now: float) -> bytes:
        """Take an offer; return the verdicts. Raise Broken when it is none."""
        count, rest = divmod(len(names), NAME)
        if rest or not 0 < count <= self._cut.count - first:
            raise malformed(f"OFFER of {len(names)} bytes for chunk {first} of {self._cut.count}")
        if len(self._open) + count > OPEN_MOST:
            raise malformed(f"it offers more than {OPEN_MOST} chunks at once")
        self._place.take(first, count)
        verdicts = bytearray()
        for number in range(count):
            index = first + number
            offer = _Offer(names[number * NAME : (number + 1) * NAME], Verdict.WHOLE, now)
            may_wait = len(self._late) < LATE_MOST
            verdict = self._published_at(index, offer)
            if verdict is None:
                verdict = self._looked_up(index, offer, may_wait=may_wait)
            offer.verdict = verdict
            verdicts.append(offer.verdict)
            with self._changing:
                (self._fresh if offer.verdict is Verdict.LATER else self._open)[index] = offer
        return bytes(verdicts)

    def told(self) -> None:
        """Begin to look again for what is wanted later, now that the sender was told so."""
        with self._changing:
            self._late.update(self._fresh)
            self._fresh.clear()

    def look_again(self, now: float) -> list[tuple[int, bytes]]:
        """Look for what was not here before; return verdicts to be said, a chunk and one byte each.

        There are no more than a few at a time.
        """
        said = list[tuple[int, bytes]]()
        for index, offer in list(self._late.items()):
            if len(said) >= _SAID_MOST:
                break
            may_wait = now - max(offer.since, self._came) < PATIENCE_S
            verdict = self._looked_up(index, offer, may_wait=may_wait)
            if verdict is Verdict.LATER:
                continue
            if verdict is Verdict.FILLED:
                self._came = now
            # The sender has let go of it, and reads it anew rather than to compare it block by block.
            offer.verdict = Verdict.WHOLE if verdict is Verdict.BLOCKS else verdict
            with self._changing:
                self._open[index] = self._late.pop(index)
            said.append((index, bytes([offer.verdict])))
        return said

    def blocks(self, index: int, names: bytes) -> bytes:
        """Take the names of a chunk's blocks; return bits of those that are wanted, empty: it is filled."""
        offer = self._expected(index, Verdict.BLOCKS)
        size = self._cut.length(index)
        if len(names) != block_count(size) * BLOCK_NAME:
            raise malformed(f"BLOCKS names {len(names) // BLOCK_NAME} blocks of chunk {index}")
        offer.verdict = Verdict.WHOLE
        self._await_blocks()
        missing: Sequence[int] = range(block_count(size))
        if self._room.take(size):
            offer.content = bytearray(size)
            missing = self._fill(index, offer.content, names)
            if not missing:
                missing = self._written(index, offer)
            elif len(missing) < block_count(size):
                offer.picked = list(missing)
            if not offer.picked:
                self._let_go(offer, size)
        wanted = bytearray(-(-block_count(size) // 8))
        for number in missing:
            wanted[number >> 3] |= 1 << (number & 7)
        return bytes(wanted) if missing else b""

    def part(self, index: int, content: bytes | memoryview | None) -> tuple[bytes, memoryview] | None:
        """Put the picked blocks to those that were here; return the chunk's leaf and all of it.

        The chunk is written. One that is another, or whose blocks are damaged (None), is to be sent whole.
        """
        offer = self._expected(index, Verdict.WHOLE)
        if not offer.picked:
            raise malformed(f"PART of chunk {index}, of which nothing was picked")
        picked, chunk = offer.picked, offer.content
        self._let_go(offer, len(chunk))
        if content is None or not _put(chunk, picked, content):
            return None
        leaf = merkle.leaf(memoryview(chunk))
        if self._names.name(leaf) != offer.name:
            return None
        self._place.write(index, memoryview(chunk))
        self._found(len(chunk) - len(content))
        with self._changing:
            del self._open[index]
        return leaf, memoryview(chunk)

    def _let_go(self, offer: _Offer, size: int) -> None:
        offer.picked, offer.content = [], bytearray()
        self._room.give(size)

    def same(self, index: int) -> bytes | None:
        """Return the leaf of a chunk that was offered and filled, once; None when it was not offered."""
        if index not in self._open and index not in self._late:
            return None
        leaf = self._expected(index, Verdict.FILLED).leaf
        with self._changing:
            del self._open[index]
        return leaf

    def whole(self, index: int) -> bool:
        """Return whether a chunk that comes whole was offered before, and forget that it was."""
        if index not in self._open and index not in self._late:
            return False
        offer = self._expected(index, Verdict.WHOLE)
        if offer.picked:
            self._let_go(offer, len(offer.content))
        with self._changing:
            del self._open[index]
        return True

    def _expected(self, index: int, verdict: Verdict) -> _Offer:
        offer = self._open.get(index)
        if offer is None or offer.verdict is not verdict:
            raise malformed(f"chunk {index} is not one that was answered so")
        return offer

    def _published_at(self, index: int, offer: _Offer) -> Verdict | None:
        """Take a chunk out of a published image; it need not be in the stock, too."""
        found = self._published.chunk(index, offer.name) if self._published else None
        return self._filled(index, offer, found)

    def _looked_up(self, index: int, offer: _Offer, *, may_wait: bool) -> Verdict:
        found = self._filled(index, offer, self._stock.chunk(offer.name))
        if found is not None:
            return found
        if not self._stock.table.claim(offer.name) and may_wait:
            return Verdict.LATER
        in_stock = self._is_promising() and not self._stock.table.is_empty
        in_image = self._published is not None and self._published.may_have(index)
        return Verdict.BLOCKS if in_stock or in_image else Verdict.WHOLE

    def _filled(self, index: int, offer: _Offer, found: tuple[bytes, bytes] | None) -> Verdict | None:
        """Write what was found, if it is a chunk of the right size."""
        if found is None or len(found[0]) != self._cut.length(index):
            return None
        content, offer.leaf = found
        self._place.write(index, content)
        self._found(len(content))
        return Verdict.FILLED

    def _fill(self, index: int, content: bytearray, names: bytes) -> list[int]:
        """Put what is in the stock, or published, into a chunk; return the numbers of blocks that are not."""
        missing = list[int]()
        for number in range(block_count(len(content))):
            name = names[number * BLOCK_NAME : (number + 1) * BLOCK_NAME]
            at = number * BLOCK
            size = min(BLOCK, len(content) - at)
            if name == self._zero_block and size == BLOCK:
                continue
            block = self._stock.block(name, size)
            if block is None:
                missing.append(number)
            else:
                content[at : at + size] = block
        return self._published.fill(index, content, names, missing) if self._published else missing

    def _written(self, index: int, offer: _Offer) -> Sequence[int]:
        """Write a chunk whose blocks were all here; return all of them when it is another one after all."""
        leaf = merkle.leaf(memoryview(offer.content))
        if self._names.name(leaf) != offer.name:
            return range(block_count(len(offer.content)))
        self._place.write(index, memoryview(offer.content))
        self._place.keep(offer.name, memoryview(offer.content))
        self._found(len(offer.content))
        offer.leaf, offer.verdict = leaf, Verdict.FILLED
        return ()


def _put(content: bytearray, picked: list[int], blocks: bytes | memoryview) -> bool:
    """Put blocks, one after the other, into their places; return False when they are too few or too many."""
    rest = memoryview(blocks)
    for number in picked:
        at = number * BLOCK
        size = min(BLOCK, len(content) - at)
        if len(rest) < size:
            return False
        content[at : at + size] = rest[:size]
        rest = rest[size:]
    return not rest
