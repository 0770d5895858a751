"""What every StreamWriter promises, as tests.

Derive a class named ``Test…`` and give it the fixture ``service``: where streams are begun, and what is kept.
"""

import threading
from typing import Protocol

import pytest

from crossport import errors
from crossport.spi.block import StreamWriter
from crossport.testing.conformance.block import noise

__all__ = ["StreamConformance", "StreamSeat"]

SIZE = 1_000_003
PIECE = 64 << 10


class StreamSeat(Protocol):
    """One service under test. Whatever is begun is closed by the test."""

    def begin(self, size: int) -> StreamWriter:
        """Begin to hand over a disk of ``size`` bytes."""
        ...

    def kept(self) -> list[bytes]:
        """Return what the service keeps, one for each disk that it took."""
        ...

    def hold_up(self) -> None:
        """Let the service take nothing any more, for as long as the test lasts."""
        ...


class StreamConformance:
    """Passes for everything that may call itself a disk that is taken in order."""

    @pytest.fixture
    def service(self) -> StreamSeat:
        """Return a service that keeps nothing yet."""
        raise NotImplementedError("the implementation under test gives this fixture")

    def test_what_is_finished_is_kept_byte_by_byte(self, service: StreamSeat) -> None:
        content, at = noise(SIZE), 0
        stream = service.begin(SIZE)
        assert stream.size == SIZE
        for size in (1, 0, 511, PIECE, 3, SIZE):
            stream.write(memoryview(content)[at : at + size])
            at += size
        for _ in range(2):
            stream.finish()
        stream.close()
        assert service.kept() == [content]

    def test_nothing_is_kept_of_what_is_not_finished(self, service: StreamSeat) -> None:
        stream = service.begin(SIZE)
        stream.write(noise(SIZE))
        stream.close()
        assert service.kept() == []

    def test_less_than_the_whole_disk_cannot_be_finished(self, service: StreamSeat) -> None:
        stream = service.begin(SIZE)
        stream.write(noise(SIZE - 1))
        with pytest.raises(errors.Invalid):
            stream.finish()
        stream.write(b"x")
        stream.finish()
        stream.close()
        assert service.kept() == [noise(SIZE - 1) + b"x"]

    def test_nothing_is_taken_beyond_the_end(self, service: StreamSeat) -> None:
        stream = service.begin(SIZE)
        stream.write(noise(SIZE))
        with pytest.raises(errors.Invalid):
            stream.write(b"x")
        stream.finish()
        stream.close()
        assert service.kept() == [noise(SIZE)]

    def test_two_disks_are_two(self, service: StreamSeat) -> None:
        streams = [service.begin(PIECE) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.write(noise(PIECE, f"{number}"))
        for stream in streams:
            stream.finish()
            stream.close()
        assert sorted(service.kept()) == sorted(noise(PIECE, f"{number}") for number in range(2))

    def test_a_stream_may_be_closed_twice_and_then_answers_unavailable(self, service: StreamSeat) -> None:
        stream = service.begin(SIZE)
        for _ in range(2):
            stream.close()
        with pytest.raises(errors.Unavailable):
            stream.write(b"x")
        with pytest.raises(errors.Unavailable):
            stream.finish()

    def test_closing_ends_a_write_that_waits_in_another_thread(self, service: StreamSeat) -> None:
        service.hold_up()
        stream = service.begin(1 << 40)
        met, begun = list[errors.Error](), threading.Event()

        def write() -> None:
            begun.set()
            try:
                while True:  # until every buffer on the way is full
                    stream.write(bytes(1 << 20))
            except errors.Error as error:
                met.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        begun.wait(10)
        stream.close()
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(met[0], errors.Unavailable)
