"""Our NBD client against real qemu-nbd and qemu-io: same bytes, and every way in which a server fails."""

import itertools
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from crossport import errors
from crossport.hypervisor import nbd
from crossport.model.artifact import Extent
from crossport.testing.conformance.block import noise
from crossport.testing.unix_socket import wait_until_it_listens

MIB = 1 << 20


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Callable[..., tuple[str, subprocess.Popen[bytes]]]]:
    """Return a function that serves an image; the answer is its locator and the server."""
    servers = list[subprocess.Popen[bytes]]()
    numbers = itertools.count()

    def served(*arguments: str) -> tuple[str, subprocess.Popen[bytes]]:
        path = tmp_path / f"{next(numbers)}.sock"
        argv = ["qemu-nbd", "-k", str(path), "-x", "disk", "--persistent", "-e", "8", *arguments]
        servers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        wait_until_it_listens(path)
        return f"unix:{path}?export=disk", servers[-1]

    yield served
    for server in servers:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


Serve = Callable[..., tuple[str, subprocess.Popen[bytes]]]


def made(path: Path, size: int, *, form: str = "qcow2") -> str:
    subprocess.run(["qemu-img", "create", "-q", "-f", form, str(path), str(size)], check=True)
    return str(path)


def test_qemu_reads_what_we_wrote_and_we_see_its_extents(tmp_path: Path, serve: Serve) -> None:
    image = made(tmp_path / "disk.qcow2", 64 * MIB)
    locator, server = serve("-f", "qcow2", image)
    disk = nbd.open_disk(locator, writable=True)
    assert disk.reads_as_zero
    disk.write(10 * MIB, noise(3 * MIB))
    disk.zero(11 * MIB, MIB)
    disk.flush()
    zeros = [extent for extent in disk.extents(0, disk.size) if extent.zero]
    assert zeros[0] == Extent(0, 10 * MIB, zero=True)
    assert Extent(13 * MIB, 51 * MIB, zero=True) in zeros
    disk.close()
    server.terminate()
    server.wait()
    expected = bytearray(64 * MIB)
    expected[10 * MIB : 13 * MIB] = noise(3 * MIB)
    expected[11 * MIB : 12 * MIB] = bytes(MIB)
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, str(raw)], check=True)
    assert raw.read_bytes() == expected


def test_a_server_on_tcp_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(noise(MIB))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = ["qemu-nbd", "-b", "127.0.0.1", "-p", str(port), "-r", "-f", "raw", str(tmp_path / "disk.raw")]
    server = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        disk = _patiently(lambda: nbd.open_disk(f"tcp:127.0.0.1:{port}", writable=False))
        buffer = bytearray(1000)
        disk.read_into(1234, memoryview(buffer))
        assert buffer == noise(MIB)[1234:2234]
        disk.close()
    finally:
        server.terminate()
        server.wait()


def _patiently(connect: Callable[[], nbd.NbdDisk]) -> nbd.NbdDisk:
    deadline = time.monotonic() + 10
    while True:
        try:
            return connect()
        except errors.Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_a_disk_without_block_status_or_structured_replies_is_all_data(tmp_path: Path, serve: Serve) -> None:
    """QEMU always offers both, so that a relay in between declines for it."""
    (tmp_path / "disk.raw").write_bytes(noise(MIB))
    locator, _ = serve("-f", "raw", str(tmp_path / "disk.raw"))
    with _declining_relay(locator, tmp_path / "relay.sock") as relay:
        disk = nbd.open_disk(f"unix:{relay}?export=disk", writable=True)
        assert list(disk.extents(0, MIB)) == [Extent(0, MIB)]
        assert not disk.reads_as_zero
        disk.write(5, b"simple")
        disk.flush()
        buffer = bytearray(20)
        disk.read_into(0, memoryview(buffer))
        assert buffer[5:11] == b"simple"
        disk.close()


class _declining_relay:  # noqa: N801 - reads as a function
    """Passes everything on, but asks the server for nothing in place of structured replies."""

    def __init__(self, locator: str, path: Path) -> None:
        self._server = locator.removeprefix("unix:").partition("?")[0]
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._relay)

    def __enter__(self) -> Path:
        self._thread.start()
        return self._path

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _relay(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        back = threading.Thread(target=self._pump, args=(server, client))
        back.start()
        with client, server:
            unknown = bytes(3) + b"\x63"  # option 99: the server answers "unsupported", for option 99
            while piece := client.recv(65536):
                server.sendall(piece.replace(b"IHAVEOPT\0\0\0\x08", b"IHAVEOPT" + unknown))
            server.shutdown(socket.SHUT_RDWR)
            back.join()

    @staticmethod
    def _pump(source: socket.socket, to: socket.socket) -> None:
        magic = (0x3E889045565A9).to_bytes(8, "big")
        while piece := source.recv(65536):
            to.sendall(piece.replace(magic + bytes(3) + b"\x63", magic + bytes(3) + b"\x08"))


def test_a_read_error_names_the_range_and_the_rest_stays_readable(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(noise(4 * MIB))
    locator, _ = serve(
        "-r",
        "--image-opts",
        "driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,"
        f"inject-error.0.sector=4096,image.driver=file,image.filename={path}",
    )
    disk = nbd.open_disk(locator, writable=False)
    with pytest.raises(errors.Broken, match=r"Bytes 2097152 to 2101248 cannot be read \(EIO\)"):
        disk.read_into(2 * MIB, memoryview(bytearray(4096)))
    buffer = bytearray(4096)
    disk.read_into(0, memoryview(buffer))
    assert buffer == noise(4 * MIB)[:4096]
    disk.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    locator, _ = serve(
        "--image-opts",
        "driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=28,"
        f"image.driver=file,image.filename={path}",
    )
    disk = nbd.open_disk(locator, writable=True)
    with pytest.raises(errors.Conflict, match=r"nbd\.disk\.full"):
        disk.write(0, b"x" * 4096)
    disk.close()


def test_a_server_that_dies_ends_every_call(tmp_path: Path, serve: Serve) -> None:
    locator, server = serve("-f", "qcow2", made(tmp_path / "disk.qcow2", 64 * MIB))
    disk = nbd.open_disk(locator, writable=True)
    server.send_signal(signal.SIGSTOP)
    outcomes = list[errors.Error]()

    def read() -> None:
        try:
            disk.read_into(0, memoryview(bytearray(8 * MIB)))
        except errors.Error as error:
            outcomes.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    server.kill()
    for thread in threads:
        thread.join(5)
    assert [outcome.code for outcome in outcomes] == ["nbd.connection.lost"] * 4
    with pytest.raises(errors.Unavailable):
        disk.write(0, b"x")
    disk.close()


def test_closing_ends_the_calls_of_other_threads(tmp_path: Path, serve: Serve) -> None:
    locator, server = serve("-f", "qcow2", made(tmp_path / "disk.qcow2", 64 * MIB))
    disk = nbd.open_disk(locator, writable=False)
    server.send_signal(signal.SIGSTOP)
    outcomes = list[errors.Error]()

    def read() -> None:
        try:
            disk.read_into(0, memoryview(bytearray(MIB)))
        except errors.Error as error:
            outcomes.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    disk.close()
    thread.join(2)
    assert [outcome.code for outcome in outcomes] == ["nbd.connection.closed"]


def test_a_server_that_hangs_is_given_up(tmp_path: Path, serve: Serve) -> None:
    locator, server = serve("-f", "qcow2", made(tmp_path / "disk.qcow2", 64 * MIB))
    disk = nbd.open_disk(locator, writable=True, timeout_s=0.3)
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(errors.Unavailable, match=r"nbd\.server\.silent"):
        disk.read_into(0, memoryview(bytearray(MIB)))
    disk.close()
    with pytest.raises(errors.Unavailable):
        nbd.open_disk(locator, writable=False, timeout_s=0.3)


def test_what_cannot_be_written_is_not_opened_for_writing(tmp_path: Path, serve: Serve) -> None:
    locator, _ = serve("-r", "-f", "qcow2", made(tmp_path / "disk.qcow2", MIB))
    with pytest.raises(errors.Refused, match=r"nbd\.export\.readonly"):
        nbd.open_disk(locator, writable=True)


def test_an_unknown_export_is_not_found(tmp_path: Path, serve: Serve) -> None:
    locator, _ = serve("-f", "qcow2", made(tmp_path / "disk.qcow2", MIB))
    with pytest.raises(errors.NotFound, match=r"nbd\.export\.unknown"):
        nbd.open_disk(locator.replace("export=disk", "export=other"), writable=False)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match=r"nbd\.server\.silent"):
        nbd.open_disk(f"unix:{tmp_path}/nothing.sock?export=disk", writable=False)
