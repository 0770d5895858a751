"""The words that two ends of a copy say to each other: typed frames with bounded lengths.

A frame is its kind (1 byte), three zero bytes, the length of its body (4 bytes, big-endian), the body. The
peer is not trusted: a length beyond the bound of its kind is refused before anything is allocated.

    sender                               receiver
    HELLO    who, what, which connection →
                                      ←  WELCOME  version, key of the names, connections
                                      ←  MAP      which chunks are held, on the first connection
    DATA     one chunk, its name      →
    ZEROS    a run of zero chunks     →
    ASK      names of held chunks     →
                                      ←  HAVE     these names
    SAME     chunks that are held     →
                                      ←  SHARE    offer from now on before you send
    OFFER    names of chunks          →
                                      ←  WANT     for each, whether and how it is wanted
    BLOCKS   names of a chunk's blocks →
                                      ←  PICK     which of them are wanted
    PART     these blocks             →
    KEEP     chunks that did not change →
    SYNC     flush now                →
                                      ←  DURABLE  so many frames of this connection survive a crash
                                      ←  AGAIN    this chunk arrived damaged
    END      chunk count and seal     →           on the first connection, when all is durable
                                      ←  DONE     the root
    ALIVE    still there              ↔
    FAILED   code and text            ↔           the last word of whoever says it

DATA, PART, ZEROS, SAME and KEEP settle chunks and are counted per connection; chunks come in any order.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from crossport import errors
from crossport.transfer.bits import Bits
from crossport.transfer.chunk import Cut
from crossport.transfer.names import BLOCK_NAME, KEY, NAME, block_count
from crossport.transfer.plan import COMPARED_AT_ONCE

__all__ = [
    "ASKS_REMEMBERED",
    "FIRST",
    "HEADER",
    "KEY_AGREED",
    "LEAST_VERSION",
    "MAX_CHUNK",
    "MAX_CONNECTIONS",
    "NEXT",
    "NO_STRAND",
    "SETTLING",
    "SHARES",
    "STRANDS",
    "STRAND_WINDOW",
    "VERSION",
    "Data",
    "End",
    "Failed",
    "Frame",
    "Hello",
    "Kind",
    "Verdict",
    "Welcome",
    "bare",
    "body_size",
    "counted",
    "done",
    "listed",
    "malformed",
    "mapped",
    "ranged",
]

VERSION = 3
LEAST_VERSION = 2
ASKS_REMEMBERED = {2: 1, 3: 16}
"""By version: how many ASKs a receiver remembers, so that SAME may still refer to them."""
SHARES = 3
"""The version from which on chunks may be offered."""
KEY_AGREED = 3
"""The version from which on the key of the names may come with the jobs of both ends."""
STRANDS = 3
"""The version from which on chunks may share a zstd frame."""
NO_STRAND, FIRST, NEXT = 0, 2, 3
"""A chunk that shares no zstd frame, begins one, or goes on in that of the last one that did either."""
_ALONE = 1
STRAND_WINDOW = 4 << 20
"""How far back in a strand a chunk may refer to what came before."""
MAX_CONNECTIONS = 16
MIN_CHUNK, MAX_CHUNK = 4 << 10, 4 << 20
HEADER = struct.Struct(">B3sI")
_DATA = struct.Struct(">QB3sI16s")
_RANGE = struct.Struct(">QQ")
_FIRST = struct.Struct(">Q")
_COUNT = struct.Struct(">Q")
_END = struct.Struct(">Q32s")
_MAX_JSON = 4096
_MAX_MAP = 64 << 10
_MAX_NAMES = COMPARED_AT_ONCE * NAME


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
    MAP = 11
    ASK = 12
    HAVE = 13
    SAME = 14
    KEEP = 15
    SYNC = 16
    SHARE = 17
    OFFER = 18
    WANT = 19
    BLOCKS = 20
    PICK = 21
    PART = 22


class Verdict(IntEnum):
    """What a receiver says to the name of a chunk that was offered."""

    FILLED = 0
    """It had the content and wrote it: SAME settles it."""
    WHOLE = 1
    """To be sent as DATA."""
    BLOCKS = 2
    """To be told the names of its blocks."""
    LATER = 3
    """Another copy is about to bring it: one of the first two is said later."""


SETTLING = frozenset({Kind.DATA, Kind.PART, Kind.ZEROS, Kind.SAME, Kind.KEEP})
"""The frames that DURABLE counts."""

_MAX_BODY = {
    Kind.HELLO: _MAX_JSON,
    Kind.WELCOME: _MAX_JSON,
    # A chunk that would grow by compression is sent as it is.
    Kind.DATA: _DATA.size + MAX_CHUNK,
    Kind.ZEROS: _RANGE.size,
    Kind.ALIVE: 0,
    Kind.END: _END.size,
    Kind.DURABLE: _COUNT.size,
    Kind.AGAIN: _COUNT.size,
    Kind.DONE: 32,
    Kind.FAILED: _MAX_JSON,
    Kind.MAP: _FIRST.size + _MAX_MAP,
    Kind.ASK: _RANGE.size,
    Kind.HAVE: _FIRST.size + _MAX_NAMES,
    Kind.SAME: _RANGE.size,
    Kind.KEEP: _RANGE.size,
    Kind.SYNC: 0,
    Kind.SHARE: 0,
    Kind.OFFER: _FIRST.size + _MAX_NAMES,
    Kind.WANT: _FIRST.size + COMPARED_AT_ONCE,
    Kind.BLOCKS: _FIRST.size + block_count(MAX_CHUNK) * BLOCK_NAME,
    Kind.PICK: _FIRST.size + block_count(MAX_CHUNK) // 8,
    Kind.PART: _DATA.size + MAX_CHUNK,
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

    def range(self, cut: Cut) -> tuple[int, int]:
        """Return the first chunk and the number of chunks of a frame about a range, which is in ``cut``."""
        if len(self.body) != _RANGE.size:
            raise malformed(f"{self.kind.name} has the wrong length")
        first, count = _RANGE.unpack(self.body)
        if not 0 < count <= cut.count - first:
            raise malformed(f"{self.kind.name} of chunks {first} to {first + count} of {cut.count}")
        return first, count

    def listed(self) -> tuple[int, bytes]:
        """Return the first chunk of MAP, HAVE, OFFER, WANT, BLOCKS and PICK, and what follows."""
        if len(self.body) < _FIRST.size:
            raise malformed(f"{self.kind.name} is too short")
        return int(_FIRST.unpack_from(self.body)[0]), bytes(self.body[_FIRST.size :])


@dataclass(frozen=True, slots=True)
class Data:
    """One chunk: ``payload`` is the chunk itself or, ``packed``, its zstd form; ``name`` is its name.

    In a ``strand`` it is what the zstd frame that this chunk shares with others goes on with.
    A ``part`` has only the blocks of it that were picked, one after the other; ``size`` is theirs.
    """

    index: int
    size: int
    name: bytes
    packed: bool
    payload: bytes | bytearray | memoryview
    part: bool = False
    strand: int = NO_STRAND

    def encoded(self) -> bytes:
        """Return the frame."""
        form = self.strand or int(self.packed)
        head = _DATA.pack(self.index, form, b"\0\0\0", self.size, self.name)
        return _framed(Kind.PART if self.part else Kind.DATA, head, self.payload)

    @classmethod
    def decoded(cls, frame: Frame) -> "Data":
        """Read a frame; raise Broken when it is none."""
        if len(frame.body) < _DATA.size:
            raise malformed(f"{frame.kind.name} is too short")
        index, form, reserved, size, name = _DATA.unpack_from(frame.body)
        payload, part = memoryview(frame.body)[_DATA.size :], frame.kind is Kind.PART
        sound = form <= NEXT and not any(reserved)
        if not sound or not 0 < size <= MAX_CHUNK or not 0 < len(payload) <= size:
            raise malformed(f"{frame.kind.name} contradicts itself")
        strand = form if form in (FIRST, NEXT) else NO_STRAND
        return cls(index, size, name, form == _ALONE, payload, part, strand)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the sender is about to send, and which connection this is.

    ``attempt`` grows each time the ends connect anew; ``connection`` counts from 0 to ``connections`` - 1.
    """

    version: int
    tenant: str
    run: str
    artifact: str
    epoch: int
    size: int
    chunk_size: int
    least: int = LEAST_VERSION
    attempt: int = 1
    connection: int = 0
    connections: int = 1

    def subject(self) -> tuple[object, ...]:
        """Return what both ends must agree about."""
        return (self.tenant, self.run, self.artifact, self.epoch, self.size, self.chunk_size)

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.HELLO, _json({name: getattr(self, name) for name in self.__slots__}))

    @classmethod
    def decoded(cls, frame: Frame) -> "Hello":
        """Read a frame; raise Broken when it is none, Conflict when the two share no version."""
        said = _said(frame, Kind.HELLO)
        _check_versions(said)
        texts = ("tenant", "run", "artifact")
        numbers = set(cls.__slots__) - set(texts)
        # A newer peer may say more than is known here.
        sound = said.keys() >= set(cls.__slots__)
        sound = sound and all(isinstance(said[name], str) for name in texts)
        sound = sound and all(type(said[name]) is int and 0 <= said[name] < 1 << 63 for name in numbers)
        sound = sound and said["connections"] > 0 and said["connection"] < said["connections"]
        if not sound or not MIN_CHUNK <= said["chunk_size"] <= MAX_CHUNK:
            raise malformed("HELLO is incomplete")
        return cls(**{name: said[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Welcome:
    """The receiver agrees, and says how: ``held`` is how many chunks MAP will name.

    ``key`` is that of the names, empty when both ends know it. ``goes_on`` says that the receiver remembers
    what earlier attempts of this copy settled, ``share`` that chunks are to be offered, as SHARE does.
    """

    key: bytes
    held: int = 0
    connections: int = 1
    goes_on: bool = False
    share: bool = False
    version: int = VERSION

    def encoded(self) -> bytes:
        """Return the frame."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return _framed(Kind.WELCOME, _json({**said, "key": self.key.hex()}))

    @classmethod
    def decoded(cls, frame: Frame) -> "Welcome":
        """Read a frame; raise Broken when it is none, Conflict when the peer answers in another version."""
        said = _said(frame, Kind.WELCOME)
        version = said.get("version")
        if type(version) is not int or version < 1:
            raise malformed("it tells no version")
        if not LEAST_VERSION <= version <= VERSION:
            raise _stranger(version, version)
        held, connections, goes_on = said.get("held"), said.get("connections"), said.get("goes_on")
        if type(held) is not int or type(connections) is not int or not isinstance(goes_on, bool):
            raise malformed("WELCOME is incomplete")
        if not 0 <= held < 1 << 63 or not 0 < connections <= MAX_CONNECTIONS:
            raise malformed("WELCOME is incomplete")
        share = version >= SHARES and said.get("share") is True
        return cls(_key(said, version), held, connections, goes_on, share, version)


@dataclass(frozen=True, slots=True)
class End:
    """All chunks are settled; ``seal`` is over those that were read and are not all zeros."""

    count: int
    seal: bytes

    def encoded(self) -> bytes:
        """Return the frame."""
        return _framed(Kind.END, _END.pack(self.count, self.seal))

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

    def error(self) -> errors.Unavailable:
        """Return it as an error of this end."""
        return errors.Unavailable(
            "transfer.peer.failed",
            f"The other end stopped: {self.text} [{self.code}]",
            remedy=errors.TRIED_AGAIN,
        )


def ranged(kind: Kind, first: int, count: int) -> bytes:
    """Return a ZEROS, SAME, KEEP or ASK frame."""
    return _framed(kind, _RANGE.pack(first, count))


def listed(kind: Kind, first: int, rest: bytes) -> bytes:
    """Return a frame of a first chunk and what follows."""
    return _framed(kind, _FIRST.pack(first), rest)


def mapped(bits: Bits) -> Iterator[bytes]:
    """Return the MAP frames that say which bits are set, in order."""
    for start in range(0, len(bits.raw), _MAX_MAP):
        yield listed(Kind.MAP, start * 8, bytes(bits.raw[start : start + _MAX_MAP]))


def counted(kind: Kind, count: int) -> bytes:
    """Return a DURABLE or AGAIN frame."""
    return _framed(kind, _COUNT.pack(count))


def bare(kind: Kind) -> bytes:
    """Return an ALIVE, SYNC or SHARE frame."""
    return _framed(kind)


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
    return errors.Broken(
        "transfer.peer.malformed", f"The other end broke the protocol: {what}.", remedy=errors.SAME_RELEASE
    )


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


def _key(said: dict[str, Any], version: int) -> bytes:
    try:
        key = bytes.fromhex(str(said.get("key")))
    except ValueError as error:
        raise malformed("WELCOME has no key") from error
    if len(key) != KEY and (key or version < KEY_AGREED):
        raise malformed("WELCOME has no key")
    return key


def _check_versions(said: dict[str, Any]) -> None:
    version, least = said.get("version"), said.get("least", said.get("version"))
    if type(version) is not int or type(least) is not int or not 1 <= least <= version:
        raise malformed("it tells no version")
    if least > VERSION or version < LEAST_VERSION:
        raise _stranger(version, least)


def _stranger(version: int, least: int) -> errors.Conflict:
    older = version < LEAST_VERSION
    return errors.Conflict(
        "transfer.protocol.older" if older else "transfer.protocol.newer",
        f"The other end speaks versions {least} to {version} of the protocol, this one {LEAST_VERSION} to"
        f" {VERSION}.",
        remedy=f"Upgrade {'the other' if older else 'this'} end.",
    )


def _plain(value: object) -> str:
    return "".join(letter for letter in str(value)[:400] if letter.isprintable())
