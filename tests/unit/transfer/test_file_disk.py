"""A plain file as a source: nobody may write to it while it is read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.transfer.copying import Copy

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.transfer.file_disk import FileDisk

CONTENT = bytes(range(256)) * 256


def ref_of(path: Path) -> DiskRef:
    return DiskRef(kind="file", locator=str(path), size=len(CONTENT))


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"x")


def lengthen(path: Path) -> None:
    os.truncate(path, 2 * len(CONTENT))


@pytest.mark.parametrize("change", [overwrite, lengthen])
def test_a_file_that_is_written_to_while_it_is_read_is_told(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))
    disk, buffer = FileDisk(ref_of(path), writable=False, unchanging=True), bytearray(4096)
    disk.read_into(0, memoryview(buffer))
    assert [extent.size for extent in disk.extents(0, disk.size)] == [len(CONTENT)]
    change(path)
    for look in (
        lambda: disk.read_into(8192, memoryview(buffer)),
        lambda: list(disk.extents(0, len(CONTENT))),
    ):
        with pytest.raises(errors.Broken) as caught:
            look()
        assert caught.value.code == "transfer.source.changed"
    disk.close()


def test_reading_a_file_or_lending_it_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    disk, buffer = FileDisk(ref_of(path), writable=False, unchanging=True), bytearray(4096)
    path.chmod(0o640)
    path.read_bytes()
    disk.read_into(0, memoryview(buffer))
    assert bytes(buffer) == CONTENT[:4096]
    disk.close()


def test_a_copy_of_a_source_that_changes_fails_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))

    class Writes(FileDisk):
        """A source to which somebody writes after the first read."""

        def read_into(self, start: int, buffer: memoryview) -> None:
            super().read_into(start, buffer)
            overwrite(path)

    copy = Copy(CONTENT)
    copy.reader = Writes(ref_of(path), writable=False, unchanging=True)
    sent, received = copy.run()
    for outcome in (sent, received):
        assert isinstance(outcome, errors.Error)
        assert "Somebody wrote to the file" in outcome.text
    copy.reader.close()
