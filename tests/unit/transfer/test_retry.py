"""Disks that are tried again: how often, after which waits, and what is not tried again."""

from collections.abc import Iterator

import pytest

from crossport import errors
from crossport.model.artifact import Extent
from crossport.spi.wrapped import WrappedReader
from crossport.testing.conformance.block import noise
from crossport.testing.faulty_disk import (
    CutReader,
    Flicker,
    FlickeringReader,
    FlickeringWriter,
    ForgetfulWriter,
)
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer.retry import Patience, RetryingReader, RetryingWriter
from crossport.units import MIB

PATIENCE = Patience(attempts=3, first_s=1.0, most_s=1.5)
SIZE = 2 * MIB


@pytest.fixture
def disks() -> MemoryDisks:
    made = MemoryDisks()
    made.create("alpha/disk", SIZE, noise(SIZE))
    return made


def test_it_gives_up_after_the_last_attempt_and_waits_longer_each_time(disks: MemoryDisks) -> None:
    waits, flicker, ref = list[float](), Flicker(1, 2, 3, 4, 5, 6, 7), disks.ref("alpha/disk")
    reader = RetryingReader(
        lambda: FlickeringReader(disks.open_reader(ref), flicker), sleep=waits.append, patience=PATIENCE
    )
    with pytest.raises(errors.Unavailable, match="away for a moment"):
        reader.read_into(0, memoryview(bytearray(10)))
    assert waits == [1.0, 1.5]
    reader.close()


def test_a_disk_that_cannot_be_opened_is_tried_as_often(disks: MemoryDisks) -> None:
    waits, tries = list[float](), list[int]()

    def opened() -> WrappedReader:
        tries.append(1)
        if len(tries) < 3:
            raise errors.Unavailable("nbd.server.silent", "Nobody answers.")
        return WrappedReader(disks.open_reader(disks.ref("alpha/disk")))

    assert RetryingReader(opened, sleep=waits.append, patience=PATIENCE).size == SIZE
    assert waits == [1.0, 1.5]


def test_a_bad_sector_is_not_tried_again(disks: MemoryDisks) -> None:
    broken = errors.Broken("nbd.request.failed", "Bytes cannot be read.")
    ref, waits = disks.ref("alpha/disk"), list[float]()
    reader = RetryingReader(lambda: CutReader(disks.open_reader(ref), 100, broken), sleep=waits.append)
    with pytest.raises(errors.Broken):
        reader.read_into(50, memoryview(bytearray(100)))
    assert not waits


def test_a_disk_that_came_back_with_another_size_is_broken(disks: MemoryDisks) -> None:
    disks.create("alpha/other", SIZE // 2)
    names, flicker = iter(["alpha/disk", "alpha/other"]), Flicker(1)
    reader = RetryingReader(
        lambda: FlickeringReader(disks.open_reader(disks.ref(next(names))), flicker), sleep=lambda _: None
    )
    with pytest.raises(errors.Broken, match=r"transfer\.disk\.resized"):
        reader.read_into(0, memoryview(bytearray(10)))


def test_a_closed_disk_is_not_opened_again(disks: MemoryDisks) -> None:
    waits, ref = list[float](), disks.ref("alpha/disk")
    reader = RetryingReader(lambda: disks.open_reader(ref), sleep=waits.append)
    reader.close()
    with pytest.raises(errors.Unavailable):
        reader.read_into(0, memoryview(bytearray(1)))
    assert not waits


def test_extents_go_on_behind_what_was_told() -> None:
    disks, opened = MemoryDisks(), list[int]()
    ref = disks.create("alpha/disk", SIZE, b"data")

    class Breaking(WrappedReader):
        """Ends each walk over its extents after one, the first three times."""

        def extents(self, start: int, size: int) -> Iterator[Extent]:
            opened.append(start)
            for number, extent in enumerate(super().extents(start, size)):
                if number and len(opened) < 3:
                    raise errors.Unavailable("nbd.connection.lost", "The server went away.")
                yield extent

    reader = RetryingReader(lambda: Breaking(disks.open_reader(ref)), sleep=lambda _: None)
    assert list(reader.extents(0, SIZE)) == list(disks.open_reader(ref).extents(0, SIZE))
    assert opened == [0, 65536]


def test_what_a_power_cut_took_is_written_again(disks: MemoryDisks) -> None:
    ref, flicker, opened = disks.ref("alpha/disk"), Flicker(4), list[int]()

    def fragile() -> FlickeringWriter:
        opened.append(1)
        return FlickeringWriter(ForgetfulWriter(disks.open_writer(ref)), flicker)

    writer = RetryingWriter(fragile, sleep=lambda _: None)
    writer.write(0, b"one")
    writer.flush()
    writer.write(10, b"two")
    writer.write(20, b"three")  # here the power goes, and two with it
    writer.zero(30, 10)
    writer.flush()
    content = disks.content("alpha/disk")
    assert (content[:3], content[10:13], content[20:25]) == (b"one", b"two", b"three")
    assert content[30:40] == bytes(10)
    assert len(opened) == 2


def test_it_keeps_no_more_than_its_bound_between_flushes(disks: MemoryDisks) -> None:
    ref = disks.ref("alpha/disk")
    inner = ForgetfulWriter(disks.open_writer(ref))
    writer = RetryingWriter(lambda: inner, sleep=lambda _: None, keep=MIB)
    writer.write(0, bytes(MIB - 1))
    assert disks.content("alpha/disk")[:10] == noise(SIZE)[:10]
    writer.write(MIB, b"x")
    assert disks.content("alpha/disk")[:10] == bytes(10)
