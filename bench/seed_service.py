"""The moving parts of the seed's way, each a process of its own in the network namespace where it sits.

``serve`` offers a file over HTTP at the source, ``fetch`` and ``put`` are the service in the middle, and
``receive`` stands for the target's image service: what is put there goes straight into the cloud.
"""

import http.client
import http.server
import shutil
import socket
import socketserver
import sys
import urllib.parse
from pathlib import Path
from typing import Any

__all__ = ["FETCHES_FROM", "PUTS_FROM", "main"]

PIECE = 1 << 20
FETCHES_FROM, PUTS_FROM = "100.127.255.254", "100.127.255.250"
"""The addresses of the service in the middle: clouds let only gateways that write to those that read, and the
other way round."""


class _Sending(http.server.BaseHTTPRequestHandler):
    path_served: Path

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.path_served.stat().st_size))
        self.end_headers()
        with self.path_served.open("rb") as file:
            shutil.copyfileobj(file, self.wfile, PIECE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class _Receiving(http.server.BaseHTTPRequestHandler):
    root: Path

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        cloud = _CloudConnection(self.root)
        token = (self.root / "token").read_text().strip()
        cloud.putrequest("PUT", self.path)
        cloud.putheader("Authorization", f"Bearer {token}")
        cloud.putheader("Content-Length", str(size))
        cloud.endheaders()
        while size:
            piece = self.rfile.read(min(PIECE, size))
            cloud.send(piece)
            size -= len(piece)
        answer = cloud.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class _CloudConnection(http.client.HTTPConnection):
    """HTTP over the socket of an embedded cloud."""

    def __init__(self, root: Path) -> None:
        super().__init__("cloud")
        self._root = root

    def connect(self) -> None:
        """Open the socket."""
        self.sock: Any = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._root / "socket"))


class _Server(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Bind without asking for this machine's name, which no namespace here can tell."""
        socketserver.TCPServer.server_bind(self)


def _listen(host: str, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
    with _Server((host, 0), handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def _serve(host: str, path: str) -> None:
    _Sending.path_served = Path(path)
    _listen(host, _Sending)


def _receive(host: str, root: str) -> None:
    _Receiving.root = Path(root)
    _listen(host, _Receiving)


def _fetch(url: str, path: str) -> None:
    connection, target = _connected(url, FETCHES_FROM)
    connection.request("GET", target)
    answer = connection.getresponse()
    with Path(path).open("wb") as file:
        shutil.copyfileobj(answer, file, PIECE)


def _put(path: str, url: str) -> None:
    connection, target = _connected(url, PUTS_FROM)
    connection.blocksize = PIECE
    with Path(path).open("rb") as file:
        size = str(Path(path).stat().st_size)
        connection.request("PUT", target, body=file, headers={"Content-Length": size})
        answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {answer.read()[:500]!r}")


def _connected(url: str, address: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, source_address=(address, 0))
    return connection, parts.path + (f"?{parts.query}" if parts.query else "")


def main() -> None:
    """Do what the first argument says with the two others."""
    parts = {"serve": _serve, "receive": _receive, "fetch": _fetch, "put": _put}
    parts[sys.argv[1]](sys.argv[2], sys.argv[3])


if __name__ == "__main__":
    main()
