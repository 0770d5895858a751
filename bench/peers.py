"""The standard tools that Crossport is compared with, each told to do as well as it can.

A clock begins when the receiving end listens and stops when the target is synced to its disk. Nothing but
Crossport verifies what arrived; only it and ``nbdcopy, TLS`` know who is at the other end.
"""

import os
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from link import TARGET, Ends

__all__ = ["PEERS"]

_PORT = "10809"
_URI = f"nbd://{TARGET}:{_PORT}/disk"
_READY_S = 10.0
_CONVERT = ["qemu-img", "convert", "-W", "-m", "8"]
_ZERO = ["-n", "--target-is-zero"]


def _nbdcopy(source: Path, target: Path, ends: Ends) -> float:
    with _served(target, ends):
        return _timed(ends.source, _nbdcopy_line(source, _URI), target)


def _nbdcopy_tls(source: Path, target: Path, ends: Ends) -> float:
    keys = target.with_suffix(".psk")
    keys.mkdir(exist_ok=True)
    (keys / "keys.psk").write_text(f"bench:{os.urandom(32).hex()}\n")
    credentials = f"tls-creds-psk,id=tls,endpoint=server,dir={keys},verify-peer=on"
    uri = f"nbds://bench@{TARGET}:{_PORT}/disk?tls-psk-file={keys}/keys.psk"
    with _served(target, ends, "--object", credentials, "--tls-creds", "tls"):
        return _timed(ends.source, _nbdcopy_line(source, uri), target)


def _nbdcopy_line(source: Path, uri: str) -> list[str]:
    return ["nbdcopy", "--flush", "--destination-is-zero", "--connections=4", str(source), uri]


def _qemu_img(source: Path, target: Path, ends: Ends) -> float:
    with _served(target, ends):
        return _timed(ends.source, [*_CONVERT, *_ZERO, "-f", "raw", "-O", "raw", str(source), _URI], target)


def _qcow2(source: Path, target: Path, ends: Ends) -> float:
    """The file is made at the source, carried, and converted at the target: as images are moved by hand."""
    made, came = source.with_suffix(".sent.qcow2"), target.with_suffix(".came.qcow2")
    taker = _begun(ends.target, ["sh", "-c", f"nc -l {TARGET} {_PORT} > {came}"])
    _listening(ends.target)
    packing = ["-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", str(source), str(made)]
    began = time.monotonic()
    subprocess.run([*_CONVERT, *packing], check=True)
    _timed(ends.source, ["sh", "-c", f"nc -N {TARGET} {_PORT} < {made}"])
    _ended(taker)
    back = [*_CONVERT, *_ZERO, "-f", "qcow2", "-O", "raw", str(came), str(target)]
    subprocess.run(back, check=True)
    _sync(target)
    seconds = time.monotonic() - began
    made.unlink()
    came.unlink()
    return seconds


def _zstd(source: Path, target: Path, ends: Ends) -> float:
    takes = f"nc -l {TARGET} {_PORT} | zstd -d -q -c | dd of={target} bs=1M iflag=fullblock"
    taker = _begun(ends.target, ["sh", "-c", f"{takes} conv=sparse,fsync,notrunc status=none"])
    _listening(ends.target)
    gives = f"dd if={source} bs=1M status=none | zstd -1 -T0 -q -c | nc -N {TARGET} {_PORT}"
    began = time.monotonic()
    _timed(ends.source, ["sh", "-c", gives])
    _ended(taker)
    return time.monotonic() - began


def _rsync(*flags: str) -> Callable[[Path, Path, Ends], float]:
    def copy(source: Path, target: Path, ends: Ends) -> float:
        config = target.with_suffix(".conf")
        config.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[m]\npath = {target.parent}\nread only = no\n")
        listen = ["--address", TARGET, "--port", _PORT]
        server = _begun(ends.target, ["rsync", "--daemon", "--no-detach", f"--config={config}", *listen])
        try:
            _listening(ends.target)
            to = f"rsync://{TARGET}:{_PORT}/m/{target.name}"
            return _timed(ends.source, ["rsync", *flags, "-S", "--fsync", str(source), to], target)
        finally:
            _stop(server)

    return copy


PEERS: dict[str, Callable[[Path, Path, Ends], float]] = {
    "nbdcopy": _nbdcopy,
    "nbdcopy, TLS": _nbdcopy_tls,
    "qemu-img convert": _qemu_img,
    "qcow2 with zstd, nc": _qcow2,
    "dd, zstd -1 -T0, nc": _zstd,
    "rsync -W": _rsync("-W"),
    "rsync -z": _rsync("-W", "-z", "--zc=zstd", "--zl=1"),
}


@contextmanager
def _served(target: Path, ends: Ends, *tls: str) -> Generator[None]:
    flags = ["-t", "-f", "raw", "-e", "8", "-b", TARGET, "-p", _PORT, "-x", "disk", "--discard=unmap"]
    server = _begun(ends.target, ["qemu-nbd", *flags, *tls, str(target)])
    try:
        _listening(ends.target)
        yield
    finally:
        _stop(server)


def _begun(namespace: str, argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["ip", "netns", "exec", namespace, *argv])


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End a server whose work is done; qemu-nbd may hang in a TLS session that is closing."""
    server.terminate()
    try:
        server.wait(_READY_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise SystemExit(f"the receiving end failed with {process.returncode}")


def _timed(namespace: str, argv: list[str], target: Path | None = None) -> float:
    began = time.monotonic()
    subprocess.run(["ip", "netns", "exec", namespace, *argv], check=True)
    if target is not None:
        _sync(target)  # qemu-img does not, and for the others there is little left
    return time.monotonic() - began


def _sync(target: Path) -> None:
    with target.open("rb") as file:
        os.fdatasync(file.fileno())


def _listening(namespace: str) -> None:
    deadline, wanted = time.monotonic() + _READY_S, f":{int(_PORT):04X}"
    look = ["ip", "netns", "exec", namespace, "cat", "/proc/net/tcp"]
    while time.monotonic() < deadline:
        said = subprocess.run(look, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        if any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in said):
            return
        time.sleep(0.02)
    raise SystemExit("the receiving end does not listen")
