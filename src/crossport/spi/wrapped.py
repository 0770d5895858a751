"""A disk within a disk: what every wrapper begins with, and changes where it is different."""

from collections.abc import Iterator

from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader, BlockWriter

__all__ = ["WrappedReader", "WrappedWriter"]


class WrappedReader:
    """A BlockReader that is the disk within in every respect. Closing it closes that."""

    def __init__(self, reader: BlockReader) -> None:
        self.size = reader.size
        self._reader = reader

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """As the disk within."""
        return self._reader.extents(start, size)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within."""
        self._reader.read_into(start, buffer)

    def close(self) -> None:
        """Close the disk within."""
        self._reader.close()


class WrappedWriter:
    """A BlockWriter that is the disk within in every respect. Closing it closes that."""

    def __init__(self, writer: BlockWriter) -> None:
        self.size = writer.size
        self.reads_as_zero = writer.reads_as_zero
        self._writer = writer

    def write(self, start: int, data: bytes | memoryview) -> None:
        """As the disk within."""
        self._writer.write(start, data)

    def zero(self, start: int, size: int) -> None:
        """As the disk within."""
        self._writer.zero(start, size)

    def flush(self) -> None:
        """As the disk within."""
        self._writer.flush()

    def close(self) -> None:
        """Close the disk within."""
        self._writer.close()
