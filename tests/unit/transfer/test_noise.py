"""The disks of a measurement: noise that is the same wherever it is read, and a void that takes anything."""

import os
import zlib

import pytest

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.transfer.noise import NOISE, VOID, NoiseOpener, VoidOpener
from crossport.units import KIB, MIB

CHUNK = 256 * KIB
REF = DiskRef(kind=NOISE, locator="1.5", size=8 * MIB)


class Time:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def read(disk: object, start: int, size: int) -> bytes:
    buffer = bytearray(size)
    disk.read_into(start, memoryview(buffer))  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]
    return bytes(buffer)


def test_noise_is_the_same_however_it_is_read():
    disk = NoiseOpener(os.urandom, Time()).open_reader(REF)
    whole = read(disk, 0, 2 * MIB)
    assert b"".join(read(disk, start, CHUNK) for start in range(0, 2 * MIB, CHUNK)) == whole
    assert read(disk, 99_999, 77_777) == whole[99_999 : 99_999 + 77_777]


def test_no_two_chunks_are_alike_and_none_shrinks():
    disk = NoiseOpener(os.urandom, Time()).open_reader(REF)
    chunks = {read(disk, start, CHUNK) for start in range(0, REF.size, CHUNK)}
    assert len(chunks) == REF.size // CHUNK
    assert all(len(zlib.compress(chunk)) > 0.99 * CHUNK for chunk in chunks)


def test_noise_falls_silent_when_its_time_is_over():
    time = Time()
    disk = NoiseOpener(os.urandom, time).open_reader(REF)
    assert any(read(disk, 0, CHUNK))
    time.now += 1.5
    assert not any(read(disk, 0, CHUNK))


def test_noise_is_read_only_and_the_void_is_written_only():
    with pytest.raises(errors.Invalid):
        NoiseOpener(os.urandom, Time()).open_writer(REF)
    with pytest.raises(errors.Invalid):
        NoiseOpener(os.urandom, Time()).open_reader(DiskRef(kind=NOISE, locator="soon", size=1))
    void = DiskRef(kind=VOID, locator="", size=MIB)
    with pytest.raises(errors.Invalid):
        VoidOpener().open_reader(void)
    writer = VoidOpener().open_writer(void)
    writer.write(0, b"gone")
    writer.flush()
    assert writer.size == MIB
