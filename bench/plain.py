"""What plain sockets get out of a link, between two namespaces: its round trip, its losses, what TCP carries.

Run as ``plain.py answer|ping|send …`` at either end; the functions start both.
"""

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from link import TARGET, Ends

__all__ = ["Probe", "probed", "streamed"]

_PORT = 10777
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_PIECE = bytes(1 << 20)
_LATE_S = 2.0
_KEPT = 32 << 20
"""Bytes that a socket keeps while its process has no processor: what is lost is lost by the link."""


@dataclass(frozen=True)
class Probe:
    """What came back of so many datagrams: seconds of the round trip, and the share that was lost.

    ``quickest_s`` is the round trip of the one that waited least for a processor.
    """

    round_trip_s: float
    quickest_s: float
    lost: float
    count: int


def probed(ends: Ends, count: int) -> Probe:
    """Send ``count`` datagrams there and back."""
    with _answering(ends):
        return Probe(**_said(ends.source, "ping", str(count)))


def streamed(ends: Ends, count: int, seconds: float, congestion: str = "") -> int:
    """Return how many bytes per second ``count`` TCP streams carry together within ``seconds``."""
    with _answering(ends):
        return int(_said(ends.source, "send", str(count), str(seconds), congestion)["size"] / seconds)


@contextmanager
def _answering(ends: Ends) -> Generator[None]:
    line = ["ip", "netns", "exec", ends.target, sys.executable, __file__, "answer"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise SystemExit("nobody answers at the other end")
            yield
        finally:
            process.kill()


def _said(namespace: str, *argv: str) -> dict[str, Any]:
    line = ["ip", "netns", "exec", namespace, sys.executable, __file__, *argv]
    return json.loads(subprocess.run(line, check=True, capture_output=True).stdout)


def _patient() -> socket.socket:
    """Return a socket for datagrams that keeps them until they are read."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _KEPT)
    return made


def _answer() -> None:
    """Send datagrams back; count what streams bring, and tell when they end."""
    datagrams = _patient()
    datagrams.bind((TARGET, _PORT))
    server = socket.create_server((TARGET, _PORT), backlog=64)
    threading.Thread(target=_take_all, args=(server,), daemon=True).start()
    print("ready", flush=True)
    while True:
        datagrams.sendto(*datagrams.recvfrom(2048))


def _take_all(server: socket.socket) -> None:
    while True:
        stream, _ = server.accept()
        threading.Thread(target=_take, args=(stream,), daemon=True).start()


def _take(stream: socket.socket) -> None:
    """Say after each piece how much has come."""
    buffer, size = bytearray(len(_PIECE)), 0
    while more := stream.recv_into(buffer):
        size += more
        stream.sendall(size.to_bytes(8))


def _ping(count: int) -> dict[str, Any]:
    datagrams = _patient()
    datagrams.connect((TARGET, _PORT))
    datagrams.settimeout(_LATE_S)
    took = dict[int, float]()

    def hear() -> None:
        try:
            while len(took) < count:
                came, now = datagrams.recv(2048), time.monotonic()
                took[int.from_bytes(came[:8])] = now - sent[int.from_bytes(came[:8])]
        except TimeoutError:
            return  # the rest is lost

    sent = list[float]()
    hearing = threading.Thread(target=hear)
    hearing.start()
    for number in range(count):
        sent.append(time.monotonic())
        datagrams.send(number.to_bytes(8).ljust(200))
        time.sleep(0.0002)
    hearing.join()
    return {
        "round_trip_s": statistics.median(took.values()),
        "quickest_s": min(took.values()),
        "lost": 1 - len(took) / count,
        "count": count,
    }


class _Stream:
    """A stream that sends until a time is over; ``size`` is what the other end told to have."""

    def __init__(self, seconds: float, congestion: str) -> None:
        self.size = 0
        self._until = time.monotonic() + seconds
        self._socket = socket.socket()
        if congestion:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        self._socket.settimeout(seconds)
        self._socket.connect((TARGET, _PORT))
        for work in (self._give, self._hear):
            threading.Thread(target=work, daemon=True).start()

    def _give(self) -> None:
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < self._until:
                self._socket.sendall(_PIECE)

    def _hear(self) -> None:
        rest = b""
        with contextlib.suppress(TimeoutError):
            while piece := self._socket.recv(1 << 16):
                rest += piece
                whole = len(rest) // 8 * 8
                if whole:
                    self.size = int.from_bytes(rest[whole - 8 : whole])
                rest = rest[whole:]


def _send(count: int, seconds: float, congestion: str) -> dict[str, Any]:
    until = time.monotonic() + seconds
    streams = [_Stream(seconds, congestion) for _ in range(count)]
    time.sleep(max(0.0, until - time.monotonic()))
    return {"size": sum(stream.size for stream in streams)}


def main() -> int:
    """Do one end's part."""
    way, *given = sys.argv[1:]
    match way:
        case "answer":
            _answer()
        case "ping":
            print(json.dumps(_ping(int(given[0]))))
        case _:
            print(json.dumps(_send(int(given[0]), float(given[1]), given[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
