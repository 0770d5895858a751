"""An NBD client for any Python: disks that QEMU, qemu-nbd or nbdkit export, read and written at offsets.

Requests of several threads are in flight at once on one connection; a large read or write is cut into
requests that are in flight together. One thread receives the replies, straight into the callers' buffers.
``close`` from another thread ends every call with Unavailable. An end that says nothing for ``timeout_s``
while something is asked of it is given up.
"""

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from crossport import errors
from crossport.hypervisor import nbd_wire as wire
from crossport.hypervisor.nbd_status import laid_over
from crossport.model.artifact import Extent

__all__ = ["NbdDisk", "open_disk"]

MAX_IN_FLIGHT = 32
_MAX_STATUS_REPLY = 1 << 20
_MAX_ERROR_REPLY = 8 << 10
_STATUS_STEP = 1 << 30
_ZERO_STEP = 128 << 20
_SOCKET_BUFFER = 1 << 20
_NO_BUFFER = memoryview(b"")


def open_disk(locator: str, *, writable: bool, timeout_s: float = 60.0) -> "NbdDisk":
    """Connect and open the export that ``locator`` names (``unix:/path?export=name``, ``tcp:host:port?…``).

    With ``&bitmap=name`` its extents tell what changed by that dirty bitmap of QEMU; of a bitmap that the
    server does not have, that everything did.

    Raise Unavailable when nobody answers, NotFound for an unknown export, Refused when a disk to be written
    is read-only or cannot be flushed, Broken for a server that breaks the protocol.
    """
    address = wire.address_of(locator)
    connection = _connected(address, timeout_s)
    try:
        export = wire.greet(connection, address.export, address.bitmap)
        if writable and (export.flags & wire.READ_ONLY or not export.flags & wire.CAN_FLUSH):
            raise errors.Refused(
                "nbd.export.readonly",
                "The NBD server does not let this disk be written durably.",
                remedy="Let the server export it for writing, with flush.",
            )
        disk = NbdDisk(connection, export, timeout_s)
    except OSError as error:
        connection.close()
        raise _lost(error) from error
    except errors.Error:
        connection.close()
        raise
    if writable:
        disk.look_for_data()
    return disk


@dataclass(slots=True, eq=False)
class _Request:
    """One request in flight. ``missing`` counts the bytes of a read that have not come."""

    command: int
    start: int
    size: int
    buffer: memoryview = _NO_BUFFER
    missing: int = 0
    status: dict[int, bytes] = field(default_factory=dict[int, bytes])
    failure: errors.Error | None = None
    done: threading.Event = field(default_factory=threading.Event)


class NbdDisk:
    """One open export: a BlockReader, and a BlockWriter when opened for writing."""

    def __init__(self, connection: socket.socket, export: wire.Export, timeout_s: float) -> None:
        self.size = export.size
        self.min_block = export.min_block
        self.reads_as_zero = False
        self._connection = connection
        self._export = export
        self._timeout_s = timeout_s
        self._sending = threading.Lock()
        self._rewriting = threading.Lock()
        self._state = threading.Lock()
        self._in_flight = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._pending: dict[int, _Request] = {}
        self._next_cookie = 1
        self._end: errors.Error | None = None
        connection.settimeout(None)
        # A server that no longer reads must not hold a sender for ever; the receiver may wait.
        bound = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        self._receiver = threading.Thread(target=self._receive_all, name="nbd-receiver", daemon=True)
        self._receiver.start()

    def look_for_data(self) -> None:
        """Set ``reads_as_zero`` by what the server says of the whole disk; close it when that fails."""
        try:
            known = self._export.allocation is not None
            self.reads_as_zero = known and all(extent.zero for extent in self.extents(0, self.size))
        except errors.Error:
            self.close()
            raise

    @property
    def tracks_changes(self) -> bool:
        """Whether the server has the bitmap that the locator names."""
        return self._export.changes is not None

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range; without block status all is data, and without a bitmap all has changed."""
        self._check(start, size)
        if not self._contexts():
            if size:
                yield Extent(start, size)
            return
        end, least = start + size, self._export.min_block
        while start < end:
            before, first = start, start // least * least
            request = self._call(
                wire.BLOCK_STATUS, first, min(-(-(end - first) // least) * least, _STATUS_STEP)
            )
            for length, zero, changed in self._described(request.status):
                stop = min(first + length, end)
                if stop > start:
                    yield Extent(start, stop - start, zero, changed)
                    start = stop
                first += length
            if start == before:
                raise wire.malformed("block status of nothing")

    def _contexts(self) -> set[int]:
        return {each for each in (self._export.allocation, self._export.changes) if each is not None}

    def _described(self, status: dict[int, bytes]) -> Iterator[tuple[int, bool, bool]]:
        allocation, changes = self._export.allocation, self._export.changes
        return laid_over(
            None if allocation is None else status[allocation], None if changes is None else status[changes]
        )

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``; the requests for its parts are in flight together."""
        self._check(start, len(buffer))
        first, last = self._aligned(start, len(buffer))
        if (first, last) == (start, start + len(buffer)):
            self._in_parts(wire.READ, start, buffer)
            return
        around = bytearray(last - first)
        self._in_parts(wire.READ, first, memoryview(around))
        buffer[:] = memoryview(around)[start - first : start - first + len(buffer)]

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write all of ``data``; durable after ``flush``."""
        view = memoryview(data)
        self._check(start, len(view))
        first, last = self._aligned(start, len(view))
        if (first, last) == (start, start + len(view)):
            self._in_parts(wire.WRITE, start, view)
            return
        with self._rewriting:  # or two writes within one block would undo each other
            around = bytearray(last - first)
            self._in_parts(wire.READ, first, memoryview(around))
            around[start - first : start - first + len(view)] = view
            self._in_parts(wire.WRITE, first, memoryview(around))

    def zero(self, start: int, size: int) -> None:
        """Make the range read as zero; the server may give the space back."""
        self._check(start, size)
        least, end = self._export.min_block, start + size
        first, last = -(-start // least) * least, end // least * least
        if not self._export.flags & wire.CAN_ZERO or first >= last:
            for piece in range(start, end, self._export.max_block):
                self.write(piece, bytes(min(self._export.max_block, end - piece)))
            return
        if start < first:
            self.write(start, bytes(first - start))
        for piece in range(first, last, _ZERO_STEP):
            self._call(wire.WRITE_ZEROES, piece, min(_ZERO_STEP, last - piece))
        if last < end:
            self.write(last, bytes(end - last))

    def flush(self) -> None:
        """Return when everything that was written before is durable, as far as the server tells the truth."""
        self._call(wire.FLUSH, 0, 0)

    def close(self) -> None:
        """Say goodbye and end every call in other threads with Unavailable. May be called twice."""
        with self._state:
            said = self._end is not None
        if not said:
            self._give_up(
                errors.Unavailable("nbd.connection.closed", "The disk was closed.", remedy=errors.REPORT),
                goodbye=True,
            )
        if threading.current_thread() is not self._receiver:
            self._receiver.join()
        self._connection.close()

    def _check(self, start: int, size: int) -> None:
        if start < 0 or start + size > self.size:
            raise errors.Invalid(
                "nbd.request.beyond_end",
                f"Bytes {start} to {start + size} are not within the disk of {self.size} bytes.",
                remedy=errors.REPORT,
            )

    def _aligned(self, start: int, size: int) -> tuple[int, int]:
        least = self._export.min_block
        return start // least * least, min(-(-(start + size) // least) * least, self.size)

    def _in_parts(self, command: int, start: int, view: memoryview) -> None:
        requests = list[_Request]()
        try:
            for at in range(0, len(view), self._export.max_block):
                requests.append(self._begin(command, start + at, view[at : at + self._export.max_block]))
        finally:
            # Also when one could not be sent: no reply may land in a buffer its owner has back.
            for request in requests:
                self._finish(request)
        for request in requests:
            if request.failure:
                raise request.failure

    def _call(self, command: int, start: int, size: int) -> _Request:
        request = self._begin(command, start, _NO_BUFFER, size)
        self._finish(request)
        if request.failure:
            raise request.failure
        return request

    def _begin(self, command: int, start: int, view: memoryview, size: int = 0) -> _Request:
        size = len(view) or size
        request = _Request(command, start, size)
        if command == wire.READ:
            request.buffer, request.missing = view, size
        if not self._in_flight.acquire(timeout=self._timeout_s):
            self._give_up(_silent(self._timeout_s))
            raise _silent(self._timeout_s)
        with self._state:
            if self._end is not None:
                self._in_flight.release()
                raise self._end
            cookie, self._next_cookie = self._next_cookie, self._next_cookie + 1
            self._pending[cookie] = request
        head = wire.REQUEST.pack(wire.REQUEST_MAGIC, self._flags(command), command, cookie, start, size)
        try:
            with self._sending:
                wire.send(self._connection, head, view if command == wire.WRITE else b"")
        except OSError as error:
            self._give_up(_lost(error))
        return request

    def _flags(self, command: int) -> int:
        # Answering in fragments, QEMU 7.2 drops the connection at a read error; answering whole, it tells it.
        whole = command == wire.READ and self._export.structured and self._export.flags & wire.CAN_WHOLE
        return wire.FLAG_WHOLE if whole else 0

    def _finish(self, request: _Request) -> None:
        if not request.done.wait(self._timeout_s):
            self._give_up(_silent(self._timeout_s))
            request.done.wait()

    def _give_up(self, why: errors.Error, *, goodbye: bool = False) -> None:
        """End the connection once; the receiver then ends every request with ``why``."""
        with self._state:
            if self._end is None:
                self._end = why
        with contextlib.suppress(OSError):
            if goodbye and self._sending.acquire(blocking=False):
                farewell = wire.REQUEST.pack(wire.REQUEST_MAGIC, 0, wire.DISCONNECT, 0, 0, 0)
                self._connection.send(farewell, socket.MSG_DONTWAIT)
                self._sending.release()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _receive_all(self) -> None:
        try:
            while True:
                self._receive_one()
        except OSError as error:
            self._give_up(_lost(error))
        except errors.Error as error:
            self._give_up(error)
        with self._state:
            pending, self._pending = list(self._pending.values()), {}
        for request in pending:
            request.failure = self._end
            self._settle(request)

    def _receive_one(self) -> None:
        (magic,) = struct.unpack(">I", wire.receive(self._connection, 4))
        if magic == wire.SIMPLE_MAGIC:
            self._receive_simple()
        elif magic == wire.STRUCTURED_MAGIC and self._export.structured:
            self._receive_structured()
        else:
            raise wire.malformed("a reply begins with the wrong number")

    def _receive_simple(self) -> None:
        number, cookie = wire.SIMPLE_REPLY.unpack(wire.receive(self._connection, wire.SIMPLE_REPLY.size))
        request = self._asked(cookie)
        if number:
            request.failure = _failed(number, request)
        elif request.command == wire.READ:
            if self._export.structured:
                raise wire.malformed("a read was answered without structure")
            wire.receive_into(self._connection, request.buffer)
            request.missing = 0
        self._complete(cookie, request)

    def _receive_structured(self) -> None:
        head = wire.receive(self._connection, wire.STRUCTURED_REPLY.size)
        flags, kind, cookie, size = wire.STRUCTURED_REPLY.unpack(head)
        request = self._asked(cookie)
        if kind & 1 << 15:
            self._receive_error(request, kind, size)
        elif kind == wire.REPLY_DATA and request.command == wire.READ and 8 < size <= 8 + request.missing:
            (start,) = struct.unpack(">Q", wire.receive(self._connection, 8))
            wire.receive_into(self._connection, _part(request, start, size - 8))
        elif kind == wire.REPLY_HOLE and request.command == wire.READ and size == 12:
            start, length = struct.unpack(">QI", wire.receive(self._connection, 12))
            part = _part(request, start, length)
            part[:] = bytes(length)
        elif (
            kind == wire.REPLY_STATUS
            and request.command == wire.BLOCK_STATUS
            and 12 <= size <= _MAX_STATUS_REPLY
        ):
            self._receive_status(request, size)
        elif kind != wire.REPLY_NONE or size or not flags & wire.FLAG_DONE:
            raise wire.malformed(f"a reply of kind {kind} and {size} bytes to command {request.command}")
        if flags & wire.FLAG_DONE:
            self._complete(cookie, request)

    def _receive_status(self, request: _Request, size: int) -> None:
        status = wire.receive(self._connection, size)
        (context,) = struct.unpack_from(">I", status)
        if context in request.status or size % 8 != 4 or context not in self._contexts():
            raise wire.malformed("block status that was not asked for")
        request.status[context] = status[4:]

    def _receive_error(self, request: _Request, kind: int, size: int) -> None:
        if not 6 <= size <= _MAX_ERROR_REPLY:
            raise wire.malformed(f"an error of {size} bytes")
        body = wire.receive(self._connection, size)
        known = kind in {wire.REPLY_ERROR, wire.REPLY_ERROR_OFFSET}
        request.failure = _failed(struct.unpack_from(">I", body)[0] if known else errno.EINVAL, request)

    def _asked(self, cookie: int) -> _Request:
        with self._state:
            request = self._pending.get(cookie)
        if request is None:
            raise wire.malformed("a reply to nothing")
        return request

    def _complete(self, cookie: int, request: _Request) -> None:
        told = len(request.status) == len(self._contexts()) or request.command != wire.BLOCK_STATUS
        if not request.failure and (request.missing or not told):
            raise wire.malformed("a reply is not complete")
        with self._state:
            del self._pending[cookie]
        self._settle(request)

    def _settle(self, request: _Request) -> None:
        request.buffer = _NO_BUFFER
        self._in_flight.release()
        request.done.set()


def _part(request: _Request, start: int, size: int) -> memoryview:
    at = start - request.start
    if at < 0 or size > request.missing or at + size > request.size:
        raise wire.malformed("data that was not asked for")
    request.missing -= size
    return request.buffer[at : at + size]


def _connected(address: wire.Address, timeout_s: float) -> socket.socket:
    try:
        if address.path:
            connection = _connected_to_path(address.path, timeout_s)
        else:
            connection = socket.create_connection((address.host, address.port), timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        where = address.path or f"{address.host}:{address.port}"
        raise errors.Unavailable(
            "nbd.server.silent",
            f"The NBD server at {where} does not answer ({error.strerror or error}).",
            remedy=errors.TRIED_AGAIN,
        ) from error
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
    return connection


def _connected_to_path(path: str, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _failed(number: int, request: _Request) -> errors.Error:
    """Translate an error of the server (doc/proto.md, "Error values"), naming the range."""
    name = errno.errorcode.get(number, str(number))
    verb = {wire.READ: "read", wire.BLOCK_STATUS: "described", wire.FLUSH: "flushed"}.get(
        request.command, "written"
    )
    text = f"Bytes {request.start} to {request.start + request.size} cannot be {verb} ({name})."
    match number:
        case errno.ENOSPC:
            return errors.Conflict("nbd.disk.full", text, remedy="Make room where this disk lies.")
        case errno.EPERM:
            return errors.Refused(
                "nbd.request.denied", text, remedy="Let the server allow it, or look into its log."
            )
        case errno.ESHUTDOWN:
            return errors.Unavailable("nbd.server.ending", text, remedy=errors.TRIED_AGAIN)
        case _:
            return errors.Broken(
                "nbd.request.failed", text, remedy="Check the storage under this disk, then try again."
            )


def _lost(error: OSError) -> errors.Unavailable:
    return errors.Unavailable(
        "nbd.connection.lost",
        f"The NBD server went away ({error.strerror or error}).",
        remedy=errors.TRIED_AGAIN,
    )


def _silent(timeout_s: float) -> errors.Unavailable:
    return errors.Unavailable(
        "nbd.server.silent", f"The NBD server said nothing for {timeout_s:.0f} s.", remedy=errors.TRIED_AGAIN
    )
