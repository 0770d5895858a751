"""A web server that answers as a real cloud of the lab did, from a recording, and worse where a test asks.

tests/openstack/recording.py makes the recording. What was not recorded is answered with status 501.
"""

import json
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["IDENTITY", "NAMED", "RECORDING", "Replay", "replayed"]

RECORDING = Path(__file__).with_name("north.json")
NAMED = "http://cloud.test:"
IDENTITY = 5000


class Replay:
    """What is answered. ``asked`` are the questions in order; ``instead`` has answers that replace others."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        recorded: dict[str, dict[str, Any]] = json.loads(RECORDING.read_text())
        self.recorded = {key.rstrip("/"): answer for key, answer in recorded.items()}
        self.instead: dict[str, tuple[int, object]] = {}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self.identity = f"{self.url}/{IDENTITY}/v3"

    def body(self, part: str) -> Any:
        """Return the recorded body of the one answer whose key ends so, to be changed by a test."""
        (found,) = [one for key, one in self.recorded.items() if key.endswith(part)]
        return json.loads(found["body"])

    def answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Return status, type and body."""
        parts = urlsplit(path)
        query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
        key = f"{method} {parts.path.strip('/')}{'?' + query if query else ''}"
        self.asked.append(key)
        for part, (status, body) in self.instead.items():
            if part in key:
                return status, "application/json", self._local(json.dumps(body))
        if key not in self.recorded:
            return 501, "text/plain", f"not recorded: {key}".encode()
        found = self.recorded[key]
        return found["status"], found["type"], self._local(found["body"])

    def _local(self, text: str) -> bytes:
        return text.replace(NAMED, f"{self.url}/").encode()

    def serve(self) -> None:
        """Answer until ``end``."""
        self._server.serve_forever(poll_interval=0.05)

    def end(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def login(self) -> Mapping[str, str]:
        """The settings with which a site is told of this cloud."""
        return {
            "auth-url": self.identity,
            "username": "admin",
            "password": "correct horse",
            "project": "admin",
            "region": "RegionNorth",
        }


def _handler(replay: Replay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            replay.bodies.append(self.rfile.read(size))
            replay.headers.update(self.headers.keys())
            status, kind, body = replay.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-Subject-Token", "token")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _reply  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's word
            del format, args

    return Handler


@contextmanager
def replayed(tls: ssl.SSLContext | None = None) -> Generator[Replay]:
    """Serve the recording on a free port of this machine until the context ends."""
    replay = Replay(tls)
    thread = threading.Thread(target=replay.serve)
    thread.start()
    try:
        yield replay
    finally:
        replay.end()
        thread.join()
