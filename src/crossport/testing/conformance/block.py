"""What every BlockReader and BlockWriter promises, as tests.

Derive a class named ``Test…`` and give it the fixture ``make``: it returns a disk that reads as the given
bytes, and opens it as often as asked.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from crossport import errors
from crossport.spi.block import BlockReader, BlockWriter

__all__ = ["BlockConformance", "DiskSeat", "ReaderConformance"]

SIZE = 3 << 20


class DiskSeat(Protocol):
    """One disk under test. Whatever is opened is closed by the test."""

    def reader(self) -> BlockReader:
        """Open for reading."""
        ...

    def writer(self) -> BlockWriter:
        """Open for writing."""
        ...


def noise(size: int, seed: str = "noise") -> bytes:
    """Return ``size`` bytes that do not repeat."""
    return hashlib.shake_128(seed.encode()).digest(size)


def whole(seat: DiskSeat) -> bytes:
    """Read the whole disk in one go."""
    reader = seat.reader()
    try:
        buffer = bytearray(reader.size)
        reader.read_into(0, memoryview(buffer))
        return bytes(buffer)
    finally:
        reader.close()


class ReaderConformance:
    """Passes for everything that may call itself a disk to read from."""

    @pytest.fixture
    def make(self) -> Callable[[bytes], DiskSeat]:
        """Return a function that makes a disk with these bytes."""
        raise NotImplementedError("the implementation under test gives this fixture")

    def test_it_reads_what_it_holds_at_any_offset(self, make: Callable[[bytes], DiskSeat]) -> None:
        content = noise(SIZE)
        reader = make(content).reader()
        for start, size in [(0, SIZE), (0, 1), (SIZE - 1, 1), (65_535, 3), (12_345, 1_100_000), (7, 0)]:
            buffer = bytearray(size)
            reader.read_into(start, memoryview(buffer))
            assert bytes(buffer) == content[start : start + size]
        assert reader.size == SIZE
        reader.close()

    def test_extents_cover_the_range_in_order_and_zero_ones_are_zero(
        self, make: Callable[[bytes], DiskSeat]
    ) -> None:
        content = bytes(1 << 20) + noise(1 << 20) + bytes(1 << 20)
        seat = make(content)
        reader = seat.reader()
        for start, size in [(0, SIZE), (1, SIZE - 2), (1_000_000, 100_000), (5, 0)]:
            position = start
            for extent in reader.extents(start, size):
                assert extent.start == position
                assert extent.size > 0
                assert not extent.zero or not any(content[position : position + extent.size])
                position += extent.size
            assert position == start + size
        reader.close()

    @pytest.mark.parametrize(("start", "size"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1), (1 << 60, 1)], ids=str)
    def test_nothing_is_read_beyond_the_end(
        self, make: Callable[[bytes], DiskSeat], start: int, size: int
    ) -> None:
        reader = make(noise(SIZE)).reader()
        with pytest.raises(errors.Invalid):
            reader.read_into(start, memoryview(bytearray(size)))
        with pytest.raises(errors.Invalid):
            list(reader.extents(start, size))
        reader.close()

    def test_many_threads_may_read_at_once(self, make: Callable[[bytes], DiskSeat]) -> None:
        content, part = noise(SIZE), 64 << 10
        reader = make(content).reader()

        def same(number: int) -> bool:
            buffer = bytearray(part)
            reader.read_into(number * part, memoryview(buffer))
            return bytes(buffer) == content[number * part : (number + 1) * part]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(same, range(SIZE // part)))
        reader.close()

    def test_a_reader_may_be_closed_twice_and_then_answers_unavailable(
        self, make: Callable[[bytes], DiskSeat]
    ) -> None:
        reader = make(noise(SIZE)).reader()
        for _ in range(2):
            reader.close()
        with pytest.raises(errors.Unavailable):
            reader.read_into(0, memoryview(bytearray(1)))


class BlockConformance(ReaderConformance):
    """Passes for everything that may call itself a disk to read from and to write to."""

    def test_what_was_written_and_flushed_is_there_for_the_next_reader(
        self, make: Callable[[bytes], DiskSeat]
    ) -> None:
        seat, expected = make(noise(SIZE)), bytearray(noise(SIZE))
        writer = seat.writer()
        for start, size in [(0, 512), (65_535, 3), (SIZE - 1, 1), (300_001, 1_300_007), (9, 0)]:
            data = noise(size, f"at {start}")
            writer.write(start, memoryview(data))
            expected[start : start + size] = data
        writer.flush()
        writer.close()
        assert whole(seat) == bytes(expected)

    def test_a_zeroed_range_reads_as_zero_and_its_neighbours_stay(
        self, make: Callable[[bytes], DiskSeat]
    ) -> None:
        seat, expected = make(noise(SIZE)), bytearray(noise(SIZE))
        writer = seat.writer()
        for start, size in [(1_000, 1), (65_535, 200_003), (SIZE - 100, 100), (1 << 20, 1 << 19), (0, 0)]:
            writer.zero(start, size)
            expected[start : start + size] = bytes(size)
        writer.flush()
        writer.close()
        assert whole(seat) == bytes(expected)

    def test_only_an_empty_disk_is_said_to_read_as_zero(self, make: Callable[[bytes], DiskSeat]) -> None:
        seat = make(bytes(SIZE))
        writer = seat.writer()
        assert not writer.reads_as_zero or not any(whole(seat))
        writer.write(1 << 20, b"no longer")
        writer.flush()
        writer.close()
        writer = seat.writer()
        assert not writer.reads_as_zero
        writer.close()

    @pytest.mark.parametrize(("start", "size"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1), (1 << 60, 1)], ids=str)
    def test_nothing_is_written_beyond_the_end(
        self, make: Callable[[bytes], DiskSeat], start: int, size: int
    ) -> None:
        seat = make(noise(SIZE))
        writer = seat.writer()
        with pytest.raises(errors.Invalid):
            writer.write(start, bytes(size))
        with pytest.raises(errors.Invalid):
            writer.zero(start, size)
        writer.close()
        assert whole(seat) == noise(SIZE)

    def test_many_threads_may_read_and_write_at_once(self, make: Callable[[bytes], DiskSeat]) -> None:
        seat, part = make(bytes(SIZE)), 64 << 10
        writer, reader = seat.writer(), seat.reader()

        def rewrite(number: int) -> bool:
            data = noise(part, f"part {number}")
            writer.write(number * part, data)
            buffer = bytearray(part)
            reader.read_into(number * part, memoryview(buffer))
            return bytes(buffer) == data

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(rewrite, range(SIZE // part)))
        writer.flush()
        writer.close()
        reader.close()
        assert whole(seat) == b"".join(noise(part, f"part {number}") for number in range(SIZE // part))

    def test_a_writer_may_be_closed_twice_and_then_answers_unavailable(
        self, make: Callable[[bytes], DiskSeat]
    ) -> None:
        writer = make(noise(SIZE)).writer()
        for _ in range(2):
            writer.close()
        with pytest.raises(errors.Unavailable):
            writer.write(0, b"x")
        with pytest.raises(errors.Unavailable):
            writer.flush()
