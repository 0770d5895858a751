"""A web server on loopback: it serves one object in ranges, takes others by PUT, and misbehaves when told."""

import re
import ssl
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crossport.transfer.egress import Egress

__all__ = ["Uploads", "Web", "web"]


class Uploads:
    """What was put, when it was whole, in ``kept``.

    ``breaks`` are used up, one by each PUT: the server hangs up once so many bytes of it came. ``declines``
    are statuses, used up alike, that are answered before the body is read, 0 for none. ``mute`` bodies are
    kept without an answer. Nothing is read while ``going`` is clear.
    """

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.breaks: list[int] = []
        self.declines: list[int] = []
        self.mute = 0
        self.begun = 0
        self.came = 0
        self.going = threading.Event()
        self.going.set()


class Web:
    """What is served. ``answers`` are given, one each, before anything else: a status, or 0 to hang up.

    ``given`` counts bytes of content; from ``breaks_after`` of them on it hangs up, and when so many as
    ``becomes`` says were given, the object is another one: ETag and content.
    """

    def __init__(self, content: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.content = content
        self.etag: str | None = '"v1"'
        self.modified: str | None = None
        self.ranges = True
        self.honest = True
        self.answers: list[int] = []
        self.location = ""
        self.asked: list[tuple[str, str]] = []
        self.given = 0
        self.breaks_after: int | None = None
        self.becomes: tuple[int, str, bytes] | None = None
        self.delay_s = 0.0
        self.delayed = threading.Event()
        self.tls = tls
        self.uploads = Uploads()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/disk.raw"

    def egress(self, *more: str) -> Egress:
        return Egress(["127.0.0.0/8", *more])


@contextmanager
def web(content: bytes, tls: ssl.SSLContext | None = None) -> Generator[Web]:
    """Serve ``content`` until the context ends; raise what went wrong in the server meanwhile."""
    served = Web(content, tls)

    class Handler(_Handler):
        of = served

    with _Server(("127.0.0.1", 0), Handler) as server:
        served.port = server.server_address[1]
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()
    for error in server.failed:
        raise error


class _Server(ThreadingHTTPServer):
    """A server whose clients may leave at any time: they drop a connection that they do not need."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type["_Handler"]) -> None:
        super().__init__(address, handler)
        self.served = handler.of
        self.failed: list[BaseException] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.served.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address
        error = sys.exception()
        if error and not isinstance(error, ConnectionError | ssl.SSLError):
            self.failed.append(error)


class _Handler(BaseHTTPRequestHandler):
    of: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        del format, args

    def do_GET(self) -> None:
        self.of.asked.append((self.headers.get("Range", ""), self.headers.get("Host", "")))
        if self.of.delay_s:
            self.of.delayed.set()
            time.sleep(self.of.delay_s)
        status = self.of.answers.pop(0) if self.of.answers else 200
        if status == 0:
            self.close_connection = True
        elif status != 200:
            self._say(status, b"", {"Location": self.of.location} if 300 <= status < 400 else {})
        else:
            self._serve()

    def do_PUT(self) -> None:
        uploads = self.of.uploads
        uploads.begun += 1
        breaks_at = uploads.breaks.pop(0) if uploads.breaks else None
        status = uploads.declines.pop(0) if uploads.declines else 0
        self.close_connection = True
        if status:
            self._say(status, b"", {})
            return
        content = self._whole_body(breaks_at)
        if content is not None:
            uploads.kept.append(content)
            uploads.mute -= 1
            if uploads.mute < 0:
                self._say(204, b"", {})

    def _whole_body(self, breaks_at: int | None) -> bytes | None:
        """Return the body, which has to be chunked, or None when it is not whole."""
        content = bytearray()
        while size := int(self.rfile.readline() or b"-1", 16):
            self.of.uploads.going.wait(30)
            if size < 0 or (breaks_at is not None and len(content) + size > breaks_at):
                return None
            content += self.rfile.read(size)
            self.of.uploads.came += size
            if self.rfile.readline() != b"\r\n":
                return None
        return bytes(content) if self.rfile.readline() == b"\r\n" else None

    def _serve(self) -> None:
        if self.of.breaks_after is not None and self.of.given >= self.of.breaks_after:
            self.close_connection = True
            return
        if self.of.becomes and self.of.given >= self.of.becomes[0]:
            _, self.of.etag, self.of.content = self.of.becomes
            self.of.becomes = None
        content, headers = self.of.content, dict[str, str]()
        if self.of.etag:
            headers["ETag"] = self.of.etag
        if self.of.modified:
            headers["Last-Modified"] = self.of.modified
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        same = condition in (None, self.of.etag, self.of.modified) or not self.of.honest
        if asked is None or not same or not self.of.ranges:
            self._say(200, content, headers)
            return
        first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._say(206, content[first : last + 1], headers)
        self.of.given += last + 1 - first

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
