"""Do what only a process inside a network namespace can: set its switches, open its devices, dial from it.

A program of its own, run as ``python -I -S inside.py WORK`` with one JSON object on standard input; it uses
the standard library alone, because it starts for every probe (some 40 ms). Each work says what it reads and
prints. It ends with status 1 and one line on standard error when the system refuses.

What talks to a guest gives up root first, has a deadline for everything and keeps a bounded part of the
answer: the guest is hostile.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["NAMESPACES", "Request", "ask", "main"]

NAMESPACES = "/run/netns"
MAX_ANSWER = 64 << 10
_NOBODY = 65534
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_TUNSETIFF = 0x400454CA
_TAP = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR

Request = dict[str, Any]


def main() -> int:
    """Do the work named by the first argument."""
    works: dict[str, Callable[[Request], None]] = {
        "switches": _set_switches,
        "tap": _open_tap,
        "tcp": _open_tcp,
        "ask": _ask_once,
        "watch": _watch,
    }
    request: Request = json.load(sys.stdin)
    try:
        works[sys.argv[1]](request)
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


def ask(request: Request) -> dict[str, Any]:
    """Ask ``host`` (IPv4) at ``port`` once and return ``good``, ``status``, ``text`` and ``seconds``.

    ``kind`` is ``tcp`` (good when it accepts) or ``http`` (GET of ``path``; good below 400). ``timeout_s``
    bounds the whole of it, ``max_size`` what is kept of the answer. Nothing that the other end does raises.
    """
    began = time.monotonic()
    limit = began + float(request["timeout_s"])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
            peer.settimeout(float(request["timeout_s"]))
            peer.connect((request["host"], int(request["port"])))
            answer = (True, 0, "accepted") if request["kind"] == "tcp" else _http(peer, request, limit)
    except TimeoutError:
        answer = (False, 0, "no answer in time")
    except OSError as error:
        answer = (False, 0, error.strerror or str(error))
    good, status, text = answer
    return {"good": good, "status": status, "text": text, "seconds": round(time.monotonic() - began, 6)}


def _http(peer: socket.socket, request: Request, limit: float) -> tuple[bool, int, str]:
    # HTTP/1.0, so that the answer ends with the connection and is not chunked.
    peer.settimeout(max(limit - time.monotonic(), 0.001))
    lines = [f"GET {request['path']} HTTP/1.0", f"Host: {request['host']}", "Connection: close", "", ""]
    peer.sendall("\r\n".join(lines).encode())
    size = min(int(request.get("max_size", MAX_ANSWER)), MAX_ANSWER)
    answer = bytearray()
    while len(answer) < size and not _whole(answer):
        left = limit - time.monotonic()
        if left <= 0:
            raise TimeoutError
        peer.settimeout(left)
        piece = peer.recv(size - len(answer))
        if not piece:
            break
        answer += piece
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return False, 0, "the answer is not HTTP"
    status = int(words[1][:3])
    return status < 400, status, body.decode("utf-8", "replace")


def _whole(answer: bytearray) -> bool:
    """Say whether the answer has the length it announced; some servers keep the connection open."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    for line in head.split(b"\r\n")[1:] if end else ():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def _ask_once(request: Request) -> None:
    """Read ``namespace`` and what `ask` needs; print its answer."""
    _enter(request["namespace"])
    _become_nobody()
    _print(ask(request))


def _watch(request: Request) -> None:
    """Ask every ``interval_s`` until killed; print each good answer, and the first of each row of bad ones.

    ``monotonic`` and ``wall`` are the time at which the answer was there.
    """
    _enter(request["namespace"])
    _become_nobody()
    # After the change of uid, which clears it: the watcher ends with the program that started it.
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    interval_s = float(request["interval_s"])
    due, was_good = time.monotonic(), True
    while True:
        answer = ask(request)
        if answer["good"] or was_good:
            _print({"monotonic": time.monotonic(), "wall": time.time(), **answer})
        was_good = answer["good"]
        due = max(due + interval_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _set_switches(request: Request) -> None:
    """Read ``{namespace: {"net/ipv4/ip_forward": "1"}}`` and set them; a name in ``?…`` may be absent."""
    for namespace, switches in request.items():
        _enter(namespace)
        for name, value in switches.items():
            file = Path("/proc/sys", name.removeprefix("?"))
            if not name.startswith("?") or file.exists():
                file.write_text(value)


def _open_tap(request: Request) -> None:
    """Open the tap ``device`` of ``namespace`` and send it over the socket ``socket`` (a descriptor)."""
    _enter(request["namespace"])
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", request["device"].encode(), _TAP))
    _send(request, descriptor)


def _open_tcp(request: Request) -> None:
    """Make a TCP socket in ``namespace`` and send it, not connected, over the socket ``socket``."""
    _enter(request["namespace"])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        _send(request, made.fileno())


def _send(request: Request, descriptor: int) -> None:
    with socket.socket(fileno=int(request["socket"])) as carrier:
        socket.send_fds(carrier, [b"\0"], [descriptor])


def _enter(namespace: str) -> None:
    """Join the network namespace of this name; an empty name is the one we are in."""
    if not namespace:
        return
    place = Path(NAMESPACES, namespace)
    if not place.exists():
        raise FileNotFoundError(errno.ENOENT, f"the network namespace {namespace} does not exist")
    with place.open("rb") as file:
        # os.setns exists from Python 3.12 only.
        if _libc().setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"the namespace {namespace} cannot be entered: {os.strerror(number)}")


def _become_nobody() -> None:
    """Give up root. From here on no module can be loaded: Python may lie where only root reads."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
