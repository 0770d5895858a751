"""A source that changes while it is read is found by reading some of it again."""

import pytest

from crossport import errors
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks, OpenMemoryDisk
from crossport.transfer.spot_check import SpotChecked

CHUNK = 4096
COUNT = 256


def read_through(content: bytes) -> tuple[OpenMemoryDisk, SpotChecked]:
    disks = MemoryDisks()
    disk = disks.open_writer(disks.create("here/disk", len(content), content))
    checked = SpotChecked(disk)
    for start in range(0, len(content), CHUNK):
        checked.read_into(start, memoryview(bytearray(CHUNK)))
    return disk, checked


@pytest.mark.parametrize("count", [1, 31, 32, 33, COUNT])
def test_a_source_that_stays_as_it_was_passes(count: int) -> None:
    read_through(noise(count * CHUNK))[1].check()


def test_nothing_that_was_read_passes() -> None:
    read_through(b"")[1].check()


@pytest.mark.parametrize("count", [1, 31, 32, 33, COUNT])
def test_a_source_of_which_all_changed_is_refused(count: int) -> None:
    disk, checked = read_through(noise(count * CHUNK))
    disk.write(0, noise(count * CHUNK, seed="changed"))
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        checked.check()


@pytest.mark.parametrize("half", [0, 1])
def test_half_of_a_source_that_changed_is_refused_wherever_it_lies(half: int) -> None:
    disk, checked = read_through(noise(COUNT * CHUNK))
    disk.write(half * COUNT // 2 * CHUNK, noise(COUNT // 2 * CHUNK, seed="changed"))
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        checked.check()
