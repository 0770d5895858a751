"""Content that a host keeps of what passed through it, for one tenant: it need not be sent again.

Two files. In one lie chunks, sealed with AES-256-GCM under a key of the stock; it is a ring, what is new
takes the place of what is oldest. The other is the table that finds chunks by their names and blocks by
theirs. Several workers use a stock at the same time. Nothing found there is believed: it is checked.
"""

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable

import zstandard

from crossport import merkle
from crossport.transfer.frame import MAX_CHUNK
from crossport.transfer.names import BLOCK, Names
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import SEGMENT, UNIT, WHOLE, Table

__all__ = ["Stock"]

_NONCE, _TAG = 12, 16
_HEAD = struct.Struct(f">{_NONCE}sIB")
_LEVEL = -3
_AT_HAND = 16
"""So many chunks that were opened last stay in memory: neighbouring blocks mostly come from the same ones."""


class Stock:
    """A stock as one session uses it. Any thread may call it. The caller closes the descriptors.

    ``names_blocks`` says whether blocks of what is put can be found at once.
    """

    def __init__(
        self, access: Access, names: Names, now: Callable[[], float], entropy: Callable[[int], bytes]
    ) -> None:
        """Use a stock; content is found by the names that ``names`` give."""
        self.names_blocks = False
        self.table = Table(access.table, access.size, now)
        self._descriptor = access.chunks
        from crossport.transfer.stock_cipher import Cipher  # noqa: PLC0415 - only who has a stock pays for it

        self._cipher = Cipher(access.key)
        self._names = names
        self._entropy = entropy
        self._opening = threading.Lock()
        self._opened: OrderedDict[int, bytes] = OrderedDict()
        self._packer = zstandard.ZstdCompressor(_LEVEL)
        self._unit = self._left = 0

    def chunk(self, name: bytes) -> tuple[bytes, bytes] | None:
        """Return the chunk of this name and its leaf, checked, None when it is not there."""
        place = self.table.find(name)
        content = self._content(place) if place else None
        if content is None:
            return None
        leaf = merkle.leaf(content)
        return (content, leaf) if self._names.name(leaf) == name else None

    def block(self, name: bytes, size: int) -> memoryview | None:
        """Return the block of this name, checked, None when it is not there or not of this size."""
        place = self.table.find(name)
        content = self._content(place) if place else None
        if place is None or content is None or place[2] == WHOLE:
            return None
        found = memoryview(content)[place[2] * BLOCK :][:size]
        return found if len(found) == size and self._names.block(found) == name else None

    def put(
        self, name: bytes, content: bytes | memoryview, packed: bytes | bytearray | memoryview | None
    ) -> None:
        """Keep a chunk, in its zstd form if there is one. Raise OSError when the disk is full.

        One thread calls this.
        """
        plain = content if packed is None else packed
        if packed is None and len(smaller := self._packer.compress(plain)) < len(plain) - len(plain) // 16:
            plain = packed = smaller
        units = -(-(_HEAD.size + len(plain) + _TAG) // UNIT)
        if self._left < units:
            self._unit, self._left = self.table.segment(), SEGMENT // UNIT
        unit = self._unit
        nonce = self._entropy(_NONCE)
        sealed = self._cipher.sealed(nonce, plain, unit)
        head = _HEAD.pack(nonce, len(sealed), packed is not None)
        os.pwritev(self._descriptor, (head, sealed), unit * UNIT)
        self._unit, self._left = unit + units, self._left - units
        self.table.put(name, unit, units)
        if self.names_blocks:
            self._name_blocks(name, (unit, units, WHOLE), content)

    def name_blocks(self, goes_on: Callable[[], bool]) -> None:
        """Let the blocks of all chunks be found, while ``goes_on`` says so.

        It costs more than to put a chunk, and is done only once somebody looks for blocks.
        """
        for key, place in self.table.unnamed():
            if not goes_on():
                return
            content = self._open(*place[:2])
            if content is not None:
                self._name_blocks(key, place, content)

    def _name_blocks(self, key: bytes, place: tuple[int, int, int], content: bytes | memoryview) -> None:
        unit, units, _ = place
        for number, block in enumerate(self._names.blocks(content)):
            self.table.put(block, unit, units, number)
        self.table.named(key, unit, units)

    def _content(self, place: tuple[int, int, int]) -> bytes | None:
        """Return the chunk that lies at a place, None when something else does."""
        unit, units, _ = place
        with self._opening:
            content = self._opened.get(unit)
            if content is None:
                content = self._open(unit, units)
                if content is None:
                    return None
                self._opened[unit] = content
                if len(self._opened) > _AT_HAND:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(unit)
            return content

    def _open(self, unit: int, units: int) -> bytes | None:
        raw = os.pread(self._descriptor, units * UNIT, unit * UNIT)
        if len(raw) < _HEAD.size:
            return None
        nonce, size, packed = _HEAD.unpack_from(raw)
        sealed = memoryview(raw)[_HEAD.size : _HEAD.size + size]
        plain = self._cipher.opened(nonce, sealed, unit)
        if plain is None:
            return None
        try:
            if packed and zstandard.frame_content_size(plain) > MAX_CHUNK:
                return None
            return zstandard.ZstdDecompressor().decompress(plain) if packed else plain
        except zstandard.ZstdError:
            return None
