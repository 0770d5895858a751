"""All files of a guest, as the appliance hands them out: what tar writes is read, nothing else believed."""

import contextlib
import io
import random
import tarfile

import pytest

from crossport import errors
from crossport.inspector.content import PIECE, content_in

FILES = {"0/etc/passwd": b"root", "0/" + "long/" * 60 + "name": b"x" * 1000, "1/big": b"y" * (2 * PIECE + 5)}


def archive(end: bytes = b"whole\n") -> bytes:
    """Return what the appliance hands out for some files, a directory, a link and a device."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in (("0", tarfile.DIRTYPE), ("0/link", tarfile.SYMTYPE), ("0/null", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "t" * 150 if kind == tarfile.SYMTYPE else ""
            tar.addfile(entry)
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        size = tar.offset
    return written.getvalue()[:size] + bytes(1024) + end


def read(text: bytes) -> dict[str, bytes]:
    return {one.path: b"".join(one.pieces) for one in content_in(io.BytesIO(text))}


def refused(text: bytes) -> errors.Refused:
    with pytest.raises(errors.Refused) as caught:
        read(text)
    return caught.value


def test_every_file_is_handed_out_with_its_path():
    assert read(archive()) == FILES


def test_no_piece_is_longer_than_a_line_takes():
    sizes = [len(piece) for one in content_in(io.BytesIO(archive())) for piece in one.pieces]
    assert max(sizes) == PIECE


@pytest.mark.parametrize("end", [b"", b"whole", b"half\n"])
def test_without_the_last_word_it_was_cut_off(end: bytes):
    assert refused(archive(end)).code == "inspect.content.malformed"


def test_a_file_that_could_not_be_read_is_no_clean_file():
    assert refused(archive(b"partial\n")).code == "inspect.content.partial"


def test_wherever_it_is_cut_something_is_missing():
    text = archive()
    for size in range(0, len(text), 499):
        assert refused(text[:size]).code == "inspect.content.malformed"


def test_garbage_ends_in_a_word():
    chance, text = random.Random(5), archive()  # noqa: S311 - damage, not secrets
    for _ in range(150):
        damaged = bytearray(text)
        for _ in range(3):
            damaged[chance.randrange(8 << 10)] = chance.randrange(256)
        with contextlib.suppress(errors.Refused):
            assert len(read(bytes(damaged))) <= len(FILES)


@pytest.mark.parametrize(
    ("kind", "size"), [(b"L", 1 << 40), (b"L", 0), (b"5", 10), (b"x", 0), (b"0", 1 << 62), (b"0", 1 << 63)]
)
def test_sizes_and_kinds_that_tar_does_not_write_are_not_followed(kind: bytes, size: int):
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = kind, size
    header = entry.tobuf(tarfile.GNU_FORMAT)
    assert refused(header[-512:] + bytes(1024) + b"whole\n").code == "inspect.content.malformed"
