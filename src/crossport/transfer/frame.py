"""The words that two ends of a copy say to each other: typed frames with bounded lengths.

A frame is its kind (1 byte), three zero bytes, the length of its body (4 bytes, big-endian), the body. The
peer is not trusted: a length beyond the bound of its kind is refused before anything is allocated.

    sender                              receiver
    HELLO    who, what, version      →
                                     ←  WELCOME  version
    DATA     one chunk, its digest   →
    ZEROS    a run of zero chunks    →
    ALIVE    still there             ↔
                                     ←  DURABLE  everything before this chunk survives a crash
                                     ←  AGAIN    this chunk arrived damaged
    END      chunk count and root    →
                                     ←  DONE     durable, verified, the same root
    FAILED   code and text           ↔           the last word of whoever says it

Chunks come in order, except those that were asked for again.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from crossport import errors

__all__ = [
    "HEADER",
    "MAX_CHUNK",
    "VERSION",
    "Data",
    "End",
    "Failed",
    "Frame",
    "Hello",
    "Kind",
    "Welcome",
    "alive",
    "body_size",
    "counted",
    "done",
    "malformed",
    "zeros",
]

VERSION = 1
MIN_CHUNK, MAX_CHUNK = 4 << 10, 4 << 20
HEADER = struct.Struct(">B3sI")
_DATA = struct.Struct(">QB3sI32s")
_ZEROS = struct.Struct(">QQ")
_COUNT = struct.Struct(">Q")
_END = struct.Struct(">Q32s")
_MAX_JSON = 4096


class Kind(IntEnum):
    """What a frame says."""

    HELLO = 1
    WELCOME = 2
    DATA = 3
    ZEROS = 4
    ALIVE = 5
    END = 6
    DURABLE = 7
    AGAIN = 8
    DONE = 9
    FAILED = 10


_MAX_BODY = {
    Kind.HELLO: _MAX_JSON,
    Kind.WELCOME: _MAX_JSON,
    # A chunk that would grow by compression is sent as it is.
    Kind.DATA: _DATA.size + MAX_CHUNK,
    Kind.ZEROS: _ZEROS.size,
    Kind.ALIVE: 0,
    Kind.END: _END.size,
    Kind.DURABLE: _COUNT.size,
    Kind.AGAIN: _COUNT.size,
    Kind.DONE: 32,
    Kind.FAILED: _MAX_JSON,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came."""

    kind: Kind
    body: bytes | bytearray

    def count(self) -> int:
        """Return the number that DURABLE and AGAIN carry."""
        if len(self.body) != _COUNT.size:
            raise malformed(f"{self.kind.name} has the wrong length")
        return int(_COUNT.unpack(self.body)[0])

    def zeros(self) -> tuple[int, int]:
        """Return the first chunk and the number of chunks of ZEROS."""
        if len(self.body) != _ZEROS.size:
            raise malformed("ZEROS has the wrong length")
        first, count = _ZEROS.unpack(self.body)
        return first, count


@dataclass(frozen=True, slots=True)
class Data:
    """One chunk: ``payload`` is the chunk itself or, ``packed``, its zstd form; ``digest`` is its leaf."""

    index: int
    size: int
    digest: bytes
    packed: bool
    payload: bytes | bytearray | memoryview

    def encoded(self) -> bytes:
        """Return the frame."""
        head = _DATA.pack(self.index, self.packed, b"\0\0\0", self.size, self.digest)
        return _framed(Kind.DATA, head, self.payload)

    @classmethod
    def decoded(cls, frame: Frame) -> "Data":
        """Read a frame; raise Broken when it is none."""
        if len(frame.body) < _DATA.size:
            raise malformed("DATA is too short")
        index, packed, reserved, size, digest = _DATA.unpack_from(frame.body)
        payload = memoryview(frame.body)[_DATA.size :]
        if packed > 1 or any(reserved) or not 0 < size <= MAX_CHUNK or not 0 < len(payload) <= size:
            raise malformed("DATA contradicts itself")
        return cls(index, size, digest, bool(packed), payload)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the sender is about to send."""

    version: int
    tenant: str
    run: str
    artifact: str
    epoch: int
    size: int
    chunk_size: int

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.HELLO, _json({name: getattr(self, name) for name in self.__slots__}))

    @classmethod
    def decoded(cls, frame: Frame) -> "Hello":
        """Read a frame; raise Broken when it is none, Conflict when the peer is newer."""
        said = _said(frame, Kind.HELLO)
        _check_version(said)
        texts, numbers = ("tenant", "run", "artifact"), ("version", "epoch", "size", "chunk_size")
        sound = said.keys() == {*texts, *numbers}
        sound = sound and all(isinstance(said[name], str) for name in texts)
        sound = sound and all(type(said[name]) is int and 0 <= said[name] < 1 << 63 for name in numbers)
        if not sound or not MIN_CHUNK <= said["chunk_size"] <= MAX_CHUNK:
            raise malformed("HELLO is incomplete")
        return cls(**said)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The receiver agrees."""

    version: int = VERSION

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.WELCOME, _json({"version": self.version}))

    @classmethod
    def decoded(cls, frame: Frame) -> "Welcome":
        """Read a frame; raise Broken when it is none, Conflict when the peer is newer."""
        said = _said(frame, Kind.WELCOME)
        _check_version(said)
        return cls()


@dataclass(frozen=True, slots=True)
class End:
    """All chunks were sent."""

    count: int
    root: bytes

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.END, _END.pack(self.count, self.root))

    @classmethod
    def decoded(cls, frame: Frame) -> "End":
        """Read a frame; raise Broken when it is none."""
        if len(frame.body) != _END.size:
            raise malformed("END has the wrong length")
        return cls(*_END.unpack(frame.body))


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer's last word: why it stops."""

    code: str
    text: str

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.FAILED, _json({"code": self.code[:200], "text": self.text[:400]}))

    @classmethod
    def decoded(cls, frame: Frame) -> "Failed":
        """Read a frame; raise Broken when it is none."""
        said = _said(frame, Kind.FAILED)
        # Printed to people: nothing but plain text is taken from a peer.
        return cls(_plain(said.get("code")), _plain(said.get("text")))


def zeros(first: int, count: int) -> bytes:
    """Return a ZEROS frame."""
    return _framed(Kind.ZEROS, _ZEROS.pack(first, count))


def counted(kind: Kind, count: int) -> bytes:
    """Return a DURABLE or AGAIN frame."""
    return _framed(kind, _COUNT.pack(count))


def alive() -> bytes:
    """Return an ALIVE frame."""
    return _framed(Kind.ALIVE)


def done(root: bytes) -> bytes:
    """Return a DONE frame."""
    return _framed(Kind.DONE, root)


def body_size(header: bytes | bytearray) -> tuple[Kind, int]:
    """Read a header; raise Broken for an unknown kind or a length beyond its bound."""
    number, reserved, size = HEADER.unpack(header)
    if number not in Kind.__members__.values() or any(reserved):
        raise malformed(f"a frame of unknown kind {number}")
    kind = Kind(number)
    if size > _MAX_BODY[kind]:
        raise malformed(f"a {kind.name} frame of {size} bytes")
    return kind, size


def malformed(what: str) -> errors.Broken:
    """Return the error for a peer that breaks the protocol."""
    return errors.Broken("transfer.peer.malformed", f"The other end broke the protocol: {what}.")


def _framed(kind: Kind, *parts: bytes | bytearray | memoryview) -> bytes:
    return b"".join((HEADER.pack(kind, b"\0\0\0", sum(map(len, parts))), *parts))


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def _said(frame: Frame, kind: Kind) -> dict[str, Any]:
    try:
        said = json.loads(frame.body)
    except (ValueError, RecursionError) as error:
        raise malformed(f"{kind.name} is no JSON") from error
    if frame.kind is not kind or not isinstance(said, dict):
        raise malformed(f"{frame.kind.name} came in place of {kind.name}")
    return said  # pyright: ignore[reportUnknownVariableType]


def _check_version(said: dict[str, Any]) -> None:
    version = said.get("version")
    if type(version) is not int or version < 1:
        raise malformed("it tells no version")
    if version > VERSION:
        raise errors.Conflict(
            "transfer.protocol.newer",
            f"The other end speaks version {version} of the protocol, this one {VERSION}.",
            remedy="Upgrade this end.",
        )


def _plain(value: object) -> str:
    return "".join(letter for letter in str(value)[:400] if letter.isprintable())
