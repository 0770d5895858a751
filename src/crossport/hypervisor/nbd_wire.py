"""The NBD protocol's words: addresses, the handshake, and the shapes of requests and replies.

After the protocol document of the NetworkBlockDevice project (doc/proto.md). The server is not trusted:
every length it announces is bounded before anything is allocated, and whatever does not fit the document
is refused.
"""

import re
import socket
import struct
from dataclasses import dataclass, replace
from urllib.parse import unquote

from crossport import errors

__all__ = ["Address", "Export", "address_of", "greet", "malformed", "receive", "send"]

MAX_OPTION_REPLY = 64 << 10
MAX_OPTION_REPLIES = 64
MAX_NAME = 4000  # of the 4096 that the protocol allows, as a bitmap gets a prefix

REQUEST = struct.Struct(">IHHQQI")
SIMPLE_REPLY = struct.Struct(">IQ")
STRUCTURED_REPLY = struct.Struct(">HHQI")
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF

READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES, BLOCK_STATUS = 0, 1, 2, 3, 6, 7
FLAG_DONE = 1
REPLY_NONE, REPLY_DATA, REPLY_HOLE, REPLY_STATUS, REPLY_ERROR, REPLY_ERROR_OFFSET = 0, 1, 2, 5, 32769, 32770
STATE_ZERO = 2
STATE_DIRTY = 1
READ_ONLY, CAN_FLUSH, CAN_ZERO, CAN_WHOLE = 2, 4, 64, 128
FLAG_WHOLE = 1 << 2  # NBD_CMD_FLAG_DF

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_MAGIC = b"IHAVEOPT"
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_ABORT, _OPT_GO, _OPT_STRUCTURED, _OPT_SET_META = 2, 7, 8, 10
_ACK, _INFO, _META, _ERROR_BIT = 1, 3, 4, 1 << 31
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3
_ALLOCATION = b"base:allocation"
_BITMAP = b"qemu:dirty-bitmap:"
_TCP = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]]+):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: ``path`` of a unix socket, or ``host`` and ``port``; and its export's name.

    ``bitmap`` names the dirty bitmap of QEMU that tells what changed, empty for none.
    """

    export: str
    bitmap: str = ""
    path: str = ""
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Export:
    """What the handshake told. A context's id is None where the server does not have it."""

    size: int
    flags: int
    structured: bool
    allocation: int | None = None
    changes: int | None = None
    min_block: int = 1
    max_block: int = 32 << 20


def address_of(locator: str) -> Address:
    """Read ``unix:/path?export=name`` or ``tcp:host:port?export=name``, and ``&bitmap=name`` after it.

    Paths and names are percent-encoded. Raise Invalid.
    """
    where, _, query = locator.partition("?")
    kind, _, rest = where.partition(":")
    names = [each.partition("=") for each in query.split("&")] if query else []
    if [name for name, _, _ in names] not in ([], ["export"], ["export", "bitmap"]):
        raise _bad_locator(locator)
    export, bitmap = ([unquote(value) for _, _, value in names] + ["", ""])[:2]
    if kind == "unix" and rest.startswith("/"):
        return Address(export, bitmap, path=unquote(rest))
    tcp = _TCP.fullmatch(rest) if kind == "tcp" else None
    if tcp is None or not 0 < int(tcp[2]) < 1 << 16:
        raise _bad_locator(locator)
    return Address(export, bitmap, host=tcp[1].strip("[]"), port=int(tcp[2]))


def greet(connection: socket.socket, name: str, bitmap: str = "") -> Export:
    """Shake hands and open export ``name``; raise NotFound, Broken for a server that breaks the rules."""
    magic, options, flags = _GREETING.unpack(receive(connection, _GREETING.size))
    if magic != b"NBDMAGIC" or options != _OPTION_MAGIC or not flags & _FIXED_NEWSTYLE:
        raise malformed("it does not speak the fixed newstyle handshake")
    short = flags & _NO_ZEROES
    connection.sendall(struct.pack(">I", _FIXED_NEWSTYLE | short))
    structured = _structured(connection)
    contexts = _contexts(connection, name, bitmap) if structured else {}
    export = _opened(connection, name)
    return replace(
        export,
        structured=structured,
        allocation=contexts.get(_ALLOCATION),
        changes=contexts.get(_BITMAP + bitmap.encode()),
    )


def send(connection: socket.socket, head: bytes, body: bytes | memoryview = b"") -> None:
    """Send all of both parts, without joining them."""
    sent = connection.sendmsg([head, body])
    if sent < len(head):
        connection.sendall(head[sent:])
        sent = len(head)
    if sent < len(head) + len(body):
        connection.sendall(memoryview(body)[sent - len(head) :])


def receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly ``size`` bytes; raise ConnectionError at the end of the stream."""
    buffer = bytearray(size)
    receive_into(connection, memoryview(buffer))
    return bytes(buffer)


def receive_into(connection: socket.socket, buffer: memoryview) -> None:
    """Fill ``buffer``; raise ConnectionError at the end of the stream."""
    while buffer:
        size = connection.recv_into(buffer)
        if not size:
            raise ConnectionResetError("the server closed the connection")
        buffer = buffer[size:]


def malformed(what: str) -> errors.Broken:
    """Return the error for a server that breaks the protocol."""
    return errors.Broken(
        "nbd.server.malformed",
        f"The NBD server broke the protocol: {what}.",
        remedy="Do not use this server.",
    )


def _structured(connection: socket.socket) -> bool:
    kind, _ = _option(connection, _OPT_STRUCTURED, b"")
    return kind == _ACK


def _contexts(connection: socket.socket, name: str, bitmap: str) -> dict[bytes, int]:
    """Ask for block status, and for the bitmap if one is named; return the ids of those that there are."""
    wanted = [_ALLOCATION, _BITMAP + _checked(bitmap)] if bitmap else [_ALLOCATION]
    queries = b"".join(struct.pack(">I", len(each)) + each for each in wanted)
    connection.sendall(_option_head(_OPT_SET_META, _name(name) + struct.pack(">I", len(wanted)) + queries))
    contexts = dict[bytes, int]()
    for _ in range(MAX_OPTION_REPLIES):
        kind, data = _option_reply(connection, _OPT_SET_META)
        if kind == _META and len(data) > 4 and data[4:] in wanted:
            (contexts[data[4:]],) = struct.unpack_from(">I", data)
        elif kind != _META:
            if len(set(contexts.values())) < len(contexts):
                raise malformed("two kinds of block status under one number")
            return contexts if kind == _ACK else {}
    raise malformed("it answers an option without end")


def _opened(connection: socket.socket, name: str) -> Export:
    data = _name(name) + struct.pack(">HH", 1, _INFO_BLOCK_SIZE)
    connection.sendall(_option_head(_OPT_GO, data))
    size, flags, blocks = -1, 0, (1, 32 << 20)
    for _ in range(MAX_OPTION_REPLIES):
        kind, data = _option_reply(connection, _OPT_GO)
        if kind == _ACK:
            if size < 0:
                raise malformed("it opened an export without telling its size")
            return Export(size, flags, structured=False, min_block=blocks[0], max_block=blocks[1])
        if kind & _ERROR_BIT:
            raise errors.NotFound(
                "nbd.export.unknown",
                f"The NBD server does not give export {name!r} ({data[:200].decode(errors='replace')!r}).",
                remedy="Name an export that the server has: qemu-nbd --list shows them.",
            )
        if kind == _INFO and len(data) == 12 and data[:2] == b"\0\0":
            size, flags = struct.unpack_from(">QH", data, 2)
        elif kind == _INFO and len(data) == 14 and data[1] == _INFO_BLOCK_SIZE:
            blocks = _block_sizes(data)
    raise malformed("it answers an option without end")


def _block_sizes(data: bytes) -> tuple[int, int]:
    least, _, most = struct.unpack_from(">III", data, 2)
    if least < 1 or least & (least - 1) or least > 64 << 10 or most < least:
        raise malformed("its block sizes are none")
    # 1 MiB keeps several requests in flight even for one large read, and is no slower (measured).
    return least, max(least, min(most, 1 << 20) // least * least)


def _option(connection: socket.socket, option: int, data: bytes) -> tuple[int, bytes]:
    connection.sendall(_option_head(option, data))
    return _option_reply(connection, option)


def _option_head(option: int, data: bytes) -> bytes:
    return _OPTION.pack(_OPTION_MAGIC, option, len(data)) + data


def _option_reply(connection: socket.socket, option: int) -> tuple[int, bytes]:
    magic, to, kind, size = _OPTION_REPLY.unpack(receive(connection, _OPTION_REPLY.size))
    if magic != _OPTION_REPLY_MAGIC or to != option:
        raise malformed("it answers an option that was not asked")
    if size > MAX_OPTION_REPLY:
        raise malformed(f"an option reply of {size} bytes")
    return kind, receive(connection, size)


def _name(name: str) -> bytes:
    encoded = _checked(name)
    return struct.pack(">I", len(encoded)) + encoded


def _checked(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > MAX_NAME:
        raise errors.Invalid(
            "nbd.locator.invalid",
            "The name of an export or bitmap is too long.",
            field="ref.locator",
            remedy="Use a name of at most 4096 bytes.",
        )
    return encoded


def _bad_locator(locator: str) -> errors.Invalid:
    return errors.Invalid(
        "nbd.locator.invalid",
        f"{locator!r} is no address of an NBD server.",
        remedy="Write unix:/path?export=NAME or tcp:host:port?export=NAME, then &bitmap=NAME for changes.",
        field="ref.locator",
    )
