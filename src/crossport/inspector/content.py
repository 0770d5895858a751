"""Read all files of a guest, as busybox's tar writes them, from whoever may have taken the appliance over.

Nothing is unpacked, and no more than a piece is held. Only what that tar writes is understood: headers of
ustar, long names of GNU. Behind the archive stands in one word whether all could be read; without it the
archive was cut off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from crossport import errors

__all__ = ["PIECE", "Content", "content_in"]

PIECE = 96 << 10
"""Bytes of a file that are handed out at once."""
MAX_FILES = 5_000_000
_MAX_NAME = 16 << 10
_BLOCK = 512
_REGULAR, _LONG, _EMPTY = b"\x000", b"LK", b"123456"
_WHOLE, _PARTIAL = b"whole\n", b"partia"


@dataclass(frozen=True, slots=True)
class Content:
    """One file: where it lies (number of its file system, then its path), its size, its bytes, to be read."""

    path: str
    size: int
    pieces: Iterator[bytes]


def content_in(stream: BinaryIO) -> Iterator[Content]:
    """Yield every regular file of ``stream``; raise Refused (``inspect.content.…``).

    The pieces of one are read to the end before the next is asked for.
    """
    name, count = "", 0
    while any(header := _exactly(stream, _BLOCK)):
        kind, size = _checked(header), _size(header[124:136])
        if kind in _LONG:
            name = _long_name(stream, size) if kind == b"L" else (_long_name(stream, size) and name)
            continue
        path, name = name or _short_name(header), ""
        count += 1
        if count > MAX_FILES:
            raise _malformed(f"it has more than {MAX_FILES} entries")
        if kind in _REGULAR:
            yield Content(path, size, _pieces(stream, size))
        elif kind not in _EMPTY or size:
            raise _malformed("it has an entry of an unknown kind")
    _require_end(stream)


def _require_end(stream: BinaryIO) -> None:
    if any(_exactly(stream, _BLOCK)):
        raise _malformed("it goes on behind its end")
    told = stream.read(len(_WHOLE))  # the stream stays open: no more is waited for
    if told == _PARTIAL:
        raise errors.Refused(
            "inspect.content.partial",
            "Not every file of the guest could be read.",
            remedy="Its file systems are damaged: repair them at the source, then migrate again.",
        )
    if told != _WHOLE:
        raise _malformed("it does not say whether it is whole")


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = _exactly(stream, min(left, PIECE))
        left -= len(piece)
        yield piece
    _exactly(stream, -size % _BLOCK)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    piece = stream.read(size)
    if len(piece) != size:
        raise _malformed("it is cut off")
    return piece


def _checked(header: bytes) -> bytes:
    """Return the kind of the entry, once the header's sum was found right."""
    total = sum(header) - sum(header[148:156]) + 8 * 0x20
    if header[257:262] != b"ustar" or _size(header[148:156]) != total:
        raise _malformed("it is no archive")
    return header[156:157]


def _size(words: bytes) -> int:
    """Return a number: octal, or, where the first bit is set, binary."""
    if words[0] & 0x80:
        number = int.from_bytes(bytes((words[0] & 0x7F, *words[1:])), "big")
    else:
        text = words.strip(b" \0")
        if text.strip(b"01234567"):
            raise _malformed("it has a number that is none")
        number = int(text or b"0", 8)
    if number >= 1 << 63:
        raise _malformed("it has a number that is none")
    return number


def _long_name(stream: BinaryIO, size: int) -> str:
    if not 0 < size <= _MAX_NAME:
        raise _malformed("it has a name without an end")
    name = _exactly(stream, size)
    _exactly(stream, -size % _BLOCK)
    return _text(name)


def _short_name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(header[:100])}" if prefix else _text(header[:100])


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "replace")


def _malformed(why: str) -> errors.Refused:
    return errors.Refused(
        "inspect.content.malformed",
        f"What the inspection appliance hands out of the guest makes no sense: {why}.",
        remedy="Its file systems are damaged, or made to break whoever reads them. Look into the guest at "
        "its source.",
    )
