"""Unpacking chunks of one connection, some of which share a zstd frame with those before them: a strand.

The other end is not trusted: nothing is allocated beyond the size of a chunk and the window of a strand.
"""

import io

import zstandard

from crossport.transfer import frame
from crossport.transfer.frame import Data

__all__ = ["Unpacker"]


class Unpacker:
    """Unpacks the chunks of one connection, in the order in which they came."""

    def __init__(self) -> None:
        self._alone = zstandard.ZstdDecompressor()
        self._strand: tuple[io.BytesIO, zstandard.ZstdDecompressionReader] | None = None

    def unpacked(self, data: Data) -> bytes | memoryview | None:
        """Return the chunk, None when it is damaged."""
        if data.packed:
            return self._unpacked_alone(data)
        if data.strand == frame.NO_STRAND:
            return memoryview(data.payload) if len(data.payload) == data.size else None
        if data.strand == frame.FIRST:
            pieces = io.BytesIO()
            unpacker = zstandard.ZstdDecompressor(max_window_size=frame.STRAND_WINDOW)
            self._strand = pieces, unpacker.stream_reader(pieces)
        return self._unpacked_next(data)

    def is_news(self, data: Data) -> bool:
        """Take note that a chunk was damaged; return False when it only follows another in its strand."""
        if data.strand == frame.NEXT and self._strand is None:
            return False
        if data.strand:
            self._strand = None
        return True

    def _unpacked_alone(self, data: Data) -> bytes | None:
        try:
            # The size is inside, too, and would be allocated: it is looked at first.
            if zstandard.frame_content_size(data.payload) != data.size:
                return None
            return self._alone.decompress(data.payload, allow_extra_data=False)
        except zstandard.ZstdError:
            return None

    def _unpacked_next(self, data: Data) -> memoryview | None:
        if self._strand is None:
            return None
        pieces, reader = self._strand
        pieces.seek(0)
        pieces.truncate()
        pieces.write(data.payload)
        pieces.seek(0)
        content = memoryview(bytearray(data.size))
        try:
            size: int = reader.readinto(content)  # pyright: ignore[reportUnknownMemberType]
        except zstandard.ZstdError:
            return None
        return content if size == data.size else None
