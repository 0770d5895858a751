"""Disks whose bytes come in order only: read at offsets, set aside under a key that is gone afterwards."""

import os
import tempfile
from collections.abc import Callable, Generator
from typing import IO

import pytest
from tests.unit.transfer.web import web

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.conformance.block import DiskSeat, ReaderConformance, noise
from crossport.transfer.http_disk import HttpOpener
from crossport.transfer.retry import Patience
from crossport.transfer.staging import BLOCK, Aside, Staging
from crossport.transfer.stream_disk import StreamReader

CANARY = b"the canary that nobody may find " * 4096
SIZE = 5 * BLOCK + 17


@pytest.fixture
def file() -> Generator[IO[bytes]]:
    with tempfile.TemporaryFile() as one:
        yield one


class Bytes:
    """A stream of what is in memory, which breaks when ``breaks_at`` bytes of it have come."""

    def __init__(self, content: bytes, breaks_at: int | None = None) -> None:
        self._content = content
        self._breaks_at = breaks_at
        self._at = 0
        self.closed = False

    def read(self, size: int) -> bytes:
        if self._breaks_at is not None and self._at + size > self._breaks_at:
            raise errors.Unavailable("transfer.http.away", "It broke.")
        piece = self._content[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def close(self) -> None:
        self.closed = True


def reader_of(file: IO[bytes], *streams: Bytes, size: int, limit: int = 1 << 30) -> StreamReader:
    """Return a disk over streams, of which each one is what comes after the one before broke."""
    following = iter(streams)
    staging = Aside(file.fileno(), os.urandom).staging(limit)
    return StreamReader(
        lambda: next(following), size, staging, sleep=list[float]().append, patience=Patience(attempts=3)
    )


def read(reader: BlockReader, start: int, size: int) -> bytes:
    buffer = bytearray(size)
    reader.read_into(start, memoryview(buffer))
    return bytes(buffer)


class Seat:
    def __init__(self, file: IO[bytes], content: bytes) -> None:
        self._file, self._content = file, content

    def reader(self) -> BlockReader:
        return reader_of(self._file, Bytes(self._content), size=len(self._content))

    def writer(self) -> BlockWriter:
        raise NotImplementedError("a stream is only read")


class TestStreamReader(ReaderConformance):
    @pytest.fixture
    def make(self, file: IO[bytes]) -> Callable[[bytes], DiskSeat]:
        return lambda content: Seat(file, content)


def test_what_is_set_aside_is_noise_and_nobody_has_the_key_afterwards(file: IO[bytes]):
    content = CANARY + noise(SIZE) + CANARY
    reader = reader_of(file, Bytes(content), size=len(content))
    assert read(reader, 0, len(content)) == content
    lying = os.pread(file.fileno(), 1 << 26, 0)
    assert len(lying) > len(content) - BLOCK
    assert CANARY[:32] not in lying
    assert read(reader, 7, 100) == content[7:107]
    reader.close()
    staging: Staging = vars(reader)["_staging"]
    blocks: object = vars(staging)["_blocks"]
    assert vars(blocks)["_cipher"] is None
    assert not vars(staging)["_last"]
    with pytest.raises(errors.Unavailable):
        read(reader, 0, 1)


def test_nothing_is_pulled_that_nobody_wants_yet(file: IO[bytes]):
    stream = Bytes(noise(SIZE))
    reader = reader_of(file, stream, size=SIZE)
    assert vars(stream)["_at"] == 0
    assert read(reader, BLOCK, 10) == noise(SIZE)[BLOCK : BLOCK + 10]
    assert vars(stream)["_at"] < 3 * BLOCK
    reader.close()


def test_after_a_break_it_goes_on_behind_what_had_come(file: IO[bytes]):
    content = noise(SIZE)
    broken = Bytes(content, breaks_at=2 * BLOCK)
    reader = reader_of(file, broken, Bytes(content, breaks_at=4 * BLOCK), Bytes(content), size=SIZE)
    assert read(reader, 0, SIZE) == content
    assert broken.closed
    reader.close()


def test_a_stream_that_begins_otherwise_after_a_break_is_not_mixed_with_the_first(file: IO[bytes]):
    other = noise(SIZE, "other")
    reader = reader_of(file, Bytes(noise(SIZE), breaks_at=2 * BLOCK), Bytes(other), size=SIZE)
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        read(reader, 0, SIZE)
    reader.close()


def test_one_that_breaks_again_and_again_without_a_byte_is_given_up(file: IO[bytes]):
    reader = reader_of(file, *(Bytes(noise(SIZE), breaks_at=0) for _ in range(9)), size=SIZE)
    with pytest.raises(errors.Unavailable, match=r"transfer\.http\.away"):
        read(reader, 0, 1)
    reader.close()


def test_one_that_ends_early_is_told(file: IO[bytes]):
    reader = reader_of(file, Bytes(noise(SIZE)[:-1]), size=SIZE)
    with pytest.raises(errors.Broken, match=r"transfer\.source\.short"):
        read(reader, 0, SIZE)
    reader.close()


def test_no_more_is_set_aside_than_is_allowed(file: IO[bytes]):
    reader = reader_of(file, Bytes(noise(SIZE)), size=SIZE, limit=2 * BLOCK)
    with pytest.raises(errors.Refused, match=r"transfer\.staging\.limit"):
        read(reader, 0, SIZE)
    reader.close()


def test_what_was_changed_where_it_lies_is_not_believed(file: IO[bytes]):
    reader = reader_of(file, Bytes(noise(SIZE)), size=SIZE)
    read(reader, 0, SIZE)
    os.pwrite(file.fileno(), b"x", 1000)
    with pytest.raises(errors.Broken, match=r"transfer\.staging\.spoiled"):
        read(reader, 0, 10)
    reader.close()


@pytest.mark.parametrize("etag", ['"v1"', None], ids=["versioned", "unversioned"])
def test_a_server_without_ranges_is_read_in_order(file: IO[bytes], etag: str | None):
    content = noise(SIZE)
    with web(content) as served:
        served.ranges, served.etag = False, etag
        opener = HttpOpener(
            served.egress(f"http://127.0.0.1:{served.port}"),
            sleep=list[float]().append,
            aside=Aside(file.fileno(), os.urandom),
        )
        disk = opener.open_reader(DiskRef(kind="http", locator=served.url, size=SIZE))
        assert disk.size == SIZE
        assert read(disk, SIZE - 5, 5) == content[-5:]
        assert read(disk, 3, BLOCK) == content[3 : BLOCK + 3]
        disk.close()
        # Once to look, once to read: however often it is read at offsets.
        assert [asked for asked, _ in served.asked] == ["bytes=0-0", "bytes=0-0", ""]
