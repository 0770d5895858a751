"""A disk that a web server holds: read in ranges (RFC 9110, section 14), one version from first to last.

Every answer must carry the validator of the first one; an object that was replaced meanwhile is Broken, never
mixed. The egress guard judges the URL and every redirect, and connections go to the address that it judged.
"""

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from crossport import errors
from crossport.model.artifact import DiskRef, Extent
from crossport.spi.block import BlockReader, BlockWriter
from crossport.transfer.bounds import check_range
from crossport.transfer.egress import Endpoint, Guard
from crossport.transfer.http_connection import BUSY, away, busy, connection_to, cut, denied
from crossport.transfer.http_upload import HttpUpload
from crossport.transfer.retry import Patience, RetryingReader
from crossport.transfer.staged_writer import StagedWriter
from crossport.transfer.staging import Aside
from crossport.transfer.stream_disk import Stream, StreamReader

__all__ = ["HttpDisk", "HttpOpener"]

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_MAX_CONNECTIONS = 4
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


@dataclass(frozen=True, slots=True)
class _Object:
    """What the first answer said: the size, and the validator that every other answer must carry."""

    size: int
    header: str
    validator: str
    ranges: bool = True

    @property
    def identity(self) -> str:
        """What tells this version from any other; empty when the server does not tell versions apart."""
        return f"{self.header} {self.validator}" if self.validator else ""


class HttpOpener:
    """Opens disks of kind ``http``, whose locator is the URL. What is away for a moment is asked again."""

    def __init__(
        self,
        egress: Guard,
        *,
        sleep: Callable[[float], None],
        timeout_s: float = 60.0,
        trust: ssl.SSLContext | None = None,
        patience: Patience | None = None,
        aside: Aside | None = None,
    ) -> None:
        """``aside`` is where bytes wait that a server gives, or takes, in order only."""
        self._egress = egress
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._trust = trust
        self._patience = patience
        self._aside = aside

    def open_reader(self, ref: DiskRef) -> BlockReader:
        """Open for reading. Raise as the guard does, Refused for a server without ranges or validators.

        Where ``ref`` has an identity, another version than that is Broken (``transfer.source.changed``). If
        that is a strong ETag, no extent is told as changed: who names it answers for that the target holds
        nothing of another version, and what it holds is not fetched again.
        """
        first: list[_Object] = []

        def opened() -> HttpDisk:
            disk = HttpDisk(
                ref.locator, self._egress, self._trust, self._timeout_s, known=first[0] if first else None
            )
            disk.changed_since = not ref.identity.startswith("ETag ")
            if ref.identity not in ("", disk.object.identity):
                disk.close()
                raise disk.changed()
            first[:] = [disk.object]
            return disk

        reader = RetryingReader(opened, sleep=self._sleep, patience=self._patience)
        if first[0].ranges:
            return reader
        reader.close()
        return self._staged(lambda: opened().begin(), first[0].size, ref)

    def _staged(self, begin: Callable[[], Stream], size: int, ref: DiskRef) -> StreamReader:
        if self._aside is None:
            raise errors.Refused(
                "transfer.http.ranges",
                f"{ref.locator[:200]} is not served in parts.",
                remedy="Use a server that answers Range requests.",
            )
        staging = self._aside.staging(size)
        return StreamReader(begin, size, staging, sleep=self._sleep, patience=self._patience)

    def open_writer(self, ref: DiskRef) -> BlockWriter:
        """Open for writing: the URL takes the whole object by one PUT, in order.

        Raise Invalid for a reference with an identity: what was set aside is gone with this process.
        """
        if self._aside is None or ref.identity:
            raise errors.Invalid(
                "transfer.disk.kind",
                f"{ref.locator[:200]} takes bytes in order only, and cannot be gone on with.",
                field="ref.identity",
                remedy="Look at how the cloud describes its disk: its driver is at fault.",
            )

        def begin() -> HttpUpload:
            return HttpUpload(ref.locator, ref.size, self._egress, self._trust, self._timeout_s)

        def look() -> str:
            try:
                disk = HttpDisk(ref.locator, self._egress, self._trust, self._timeout_s)
            except errors.Error as error:
                return f"Asked what it has: {error.text}"
            disk.close()
            return f"Asked what it has: an object of {disk.size} bytes, where the disk has {ref.size}."

        shelf = self._aside.shelf(ref.size)
        return StagedWriter(begin, ref.size, shelf, patience=self._patience, look=look)


class HttpDisk:
    """One object of a web server, opened. Unavailable is what may pass, Broken an object that changed."""

    def __init__(
        self,
        url: str,
        egress: Guard,
        trust: ssl.SSLContext | None,
        timeout_s: float,
        *,
        known: _Object | None = None,
    ) -> None:
        """Find the object, following redirects. ``known`` is what it was when it was opened before."""
        self._egress = egress
        self._trust = trust
        self._timeout_s = timeout_s
        self._turns = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._state = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False
        self.changed_since = True
        self._endpoint, self.object = self._found(url)
        if known is not None and known != self.object:
            self.close()
            raise self.changed()
        self.size = self.object.size

    def changed(self) -> errors.Broken:
        """Return the error that says that the object is another one than it was."""
        return _changed(self._endpoint)

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Cover the range: a web server does not tell holes."""
        self._check(start, size)
        if size:
            yield Extent(start, size, changed=self.changed_since)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``start``."""
        self._check(start, len(buffer))
        if not buffer:
            return
        last = start + len(buffer) - 1
        headers = {"Range": f"bytes={start}-{last}", "If-Range": self.object.validator}
        with self._turns:
            connection = self._taken()
            try:
                answer = self._asked(connection, self._endpoint, headers)
                self._same(answer, start, last)
                _fill(answer, buffer)
            except errors.Error:
                self._put(connection, fit=False)
                raise
            except (OSError, http.client.HTTPException) as error:
                self._put(connection, fit=False)
                raise away(self._endpoint, error) from error
            self._put(connection, fit=not answer.will_close)

    def begin(self) -> "HttpStream":
        """Begin to read the whole object, in order; the disk itself is not needed for that any more."""
        connection = connection_to(self._endpoint, self._trust, self._timeout_s)
        try:
            answer = self._asked(connection, self._endpoint, {})
        except errors.Error:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise away(self._endpoint, error) from error
        if answer.status != http.HTTPStatus.OK:
            connection.close()
            raise denied(self._endpoint, answer)
        now = _described(self._endpoint, answer)
        if (now.size, now.identity) != (self.size, self.object.identity):
            connection.close()
            raise self.changed()
        return HttpStream(self._endpoint, connection, answer)

    def close(self) -> None:
        """Let go, and end reads in other threads with Unavailable. May be called twice."""
        with self._state:
            self._closed = True
            connections, self._idle = [*self._idle, *self._busy], []
        for connection in connections:
            if connection.sock is not None:
                connection.sock.close() if connection not in self._busy else cut(connection.sock)

    def _found(self, url: str) -> tuple[Endpoint, _Object]:
        for _ in range(_MAX_REDIRECTS + 1):
            endpoint = self._egress.endpoint(url)
            connection = connection_to(endpoint, self._trust, self._timeout_s)
            try:
                answer = self._asked(connection, endpoint, {"Range": "bytes=0-0"})
                if answer.status not in _REDIRECTS:
                    return endpoint, _described(endpoint, answer)
                location = answer.getheader("Location", "")
            except (OSError, http.client.HTTPException) as error:
                raise away(endpoint, error) from error
            finally:
                connection.close()
            if endpoint.scheme == "https" and not urljoin(endpoint.url, location).startswith("https:"):
                raise errors.Refused(
                    "egress.denied",
                    f"{endpoint.host} redirects to a place without encryption.",
                    remedy="Let the server redirect to https only.",
                )
            url = urljoin(endpoint.url, location)
        raise errors.Refused(
            "transfer.http.redirects",
            f"{url[:200]} is redirected more often than it may be.",
            remedy="Give the address at which it lies in the end.",
        )

    def _asked(
        self, connection: http.client.HTTPConnection, endpoint: Endpoint, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection.request("GET", endpoint.target, headers={"Accept-Encoding": "identity", **headers})
        answer = connection.getresponse()
        if answer.status in BUSY:
            raise busy(endpoint, answer)
        return answer

    def _same(self, answer: http.client.HTTPResponse, start: int, last: int) -> None:
        if answer.status in {200, 412, 416}:
            raise _changed(self._endpoint)
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            raise denied(self._endpoint, answer)
        if answer.getheader(self.object.header, self.object.validator) != self.object.validator:
            raise _changed(self._endpoint)
        if answer.getheader("Content-Range", "") != f"bytes {start}-{last}/{self.size}":
            raise _malformed(self._endpoint, "it answers with another range")

    def _check(self, start: int, size: int) -> None:
        check_range(start, size, self.size, closed=self._closed)

    def _taken(self) -> http.client.HTTPConnection:
        with self._state:
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = connection_to(self._endpoint, self._trust, self._timeout_s)
            self._busy.add(connection)
            return connection

    def _put(self, connection: http.client.HTTPConnection, *, fit: bool) -> None:
        with self._state:
            self._busy.discard(connection)
            keep = fit and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()


class HttpStream:
    """The whole object, from its beginning: a `crossport.transfer.stream_disk.Stream`."""

    def __init__(
        self, endpoint: Endpoint, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._answer = answer

    def read(self, size: int) -> bytes:
        """Return the next bytes; raise Unavailable when the connection breaks before the end."""
        try:
            piece = self._answer.read(size)
        except (
            OSError,
            http.client.HTTPException,
            AttributeError,
        ) as error:  # the last one: closed meanwhile
            raise away(self._endpoint, error) from error
        if len(piece) < size and self._answer.length:
            raise away(self._endpoint, http.client.IncompleteRead(b""))
        return piece

    def close(self) -> None:
        """Let go."""
        if self._connection.sock is not None:
            cut(self._connection.sock)
        self._connection.close()


def _described(endpoint: Endpoint, answer: http.client.HTTPResponse) -> _Object:
    if answer.status not in {200, 206, 416}:
        raise denied(endpoint, answer)
    said = _RANGE.fullmatch(answer.getheader("Content-Range", ""))
    ranges = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    length = said[3] if said else answer.getheader("Content-Length", "")
    if ranges is (said is None) or not re.fullmatch(r"\d{1,19}", length):
        raise errors.Refused(
            "transfer.http.ranges",
            f"{endpoint.host} serves no parts of this object, and does not tell its size either.",
            remedy="Use a server that answers Range requests.",
        )
    if answer.getheader("Content-Encoding", "identity") != "identity":
        raise _malformed(endpoint, "it encodes what it was asked for as it is")
    tag = answer.getheader("ETag", "")
    header = "ETag" if tag.startswith('"') else "Last-Modified"
    validator = answer.getheader(header, "")
    if not validator and ranges:
        raise errors.Refused(
            "transfer.http.unversioned",
            f"{endpoint.host} does not tell whether this object was changed.",
            remedy="Use a server that sends a strong ETag or Last-Modified.",
        )
    return _Object(int(length), header, validator, ranges)


def _fill(answer: http.client.HTTPResponse, buffer: memoryview) -> None:
    while buffer:
        size = answer.readinto(buffer)
        if not size:
            raise http.client.IncompleteRead(b"", len(buffer))
        buffer = buffer[size:]
    if answer.read(1):
        raise http.client.HTTPException("more than was asked for")


def _changed(endpoint: Endpoint) -> errors.Broken:
    return errors.Broken(
        "transfer.source.changed",
        f"The object at {endpoint.host} was replaced while it was copied.",
        remedy="Copy it anew from the beginning.",
    )


def _malformed(endpoint: Endpoint, what: str) -> errors.Broken:
    return errors.Broken(
        "transfer.http.malformed",
        f"{endpoint.host} breaks HTTP: {what}.",
        remedy="Have the server, or what stands before it, put right.",
    )
