"""The NBD client against servers that lie: whatever they say ends in an error, soon and in bounded memory."""

import socket
import struct
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from crossport import errors
from crossport.hypervisor import nbd
from crossport.hypervisor.nbd_status import laid_over
from crossport.hypervisor.nbd_wire import address_of

GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
SIZE = 1 << 20


def option_reply(option: int, kind: int, data: bytes = b"", size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, length) + data


CONTEXT = option_reply(10, 4, struct.pack(">I", 7) + b"base:allocation") + option_reply(10, 1)
OPENED = option_reply(7, 3, struct.pack(">HQH", 0, SIZE, 1 | 4 | 64)) + option_reply(7, 1)
SOUND = [GREETING, option_reply(8, 1), CONTEXT, OPENED]
BITMAP = option_reply(10, 4, struct.pack(">I", 8) + b"qemu:dirty-bitmap:mark")
TRACKED = [GREETING, option_reply(8, 1), BITMAP + CONTEXT, OPENED]


def structured(kind: int, data: bytes, *, flags: int = 1, cookie: int = 1, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, length) + data


Lie = Callable[[list[bytes]], str]


@pytest.fixture
def lie(tmp_path: Path) -> Generator[Lie]:
    """Return a function that serves these answers, one per message of the client, and gives the locator."""
    path = tmp_path / "liar.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    threads = list[threading.Thread]()

    def serve(answers: list[bytes]) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(answers[0])
                connection.recv(4)
                for answer in answers[1:]:
                    connection.recv(65536)
                    connection.sendall(answer)
                while connection.recv(65536):
                    pass
            except OSError:
                return

    def started(answers: list[bytes]) -> str:
        threads.append(threading.Thread(target=serve, args=(answers,)))
        threads[-1].start()
        return f"unix:{path}?export=disk"

    yield started
    for thread in threads:
        thread.join(10)
    listener.close()


@pytest.mark.parametrize(
    "answers",
    [
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0"],  # the oldstyle handshake
        [b"NBDMAGICIHAVEOPT\0\0"],
        [GREETING, option_reply(8, 1, size=1 << 31)],
        [GREETING, option_reply(9, 1)],
        [GREETING, b"\0" * 20],
        [GREETING, option_reply(8, 1), option_reply(10, 4, b"\0\0\0\1other") * 70],
        [GREETING, option_reply(8, 1), CONTEXT, option_reply(7, 1)],
        [GREETING, option_reply(8, 1), CONTEXT, option_reply(7, 3, b"\0\x09") * 70],
        [GREETING, option_reply(8, 1), CONTEXT, option_reply(7, 3, struct.pack(">HIII", 3, 3, 4096, 4096))],
        [GREETING, option_reply(8, 1), CONTEXT, option_reply(7, 3, struct.pack(">HIII", 3, 512, 1, 1))],
    ],
    ids=[
        "http",
        "oldstyle",
        "not-fixed",
        "huge-option-reply",
        "answer-to-nothing",
        "zeros",
        "endless-contexts",
        "no-size",
        "endless-information",
        "odd-block-size",
        "no-room-for-a-block",
    ],
)
def test_a_bad_handshake_is_refused(lie: Lie, answers: list[bytes]) -> None:
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        nbd.open_disk(lie(answers), writable=False, timeout_s=2)


@pytest.mark.parametrize(
    "answer",
    [
        b"\0" * 16,
        structured(1, b"", size=0xFFFFFFFF),
        structured(1, struct.pack(">Q", 4096) + b"x" * 4096),
        structured(1, struct.pack(">Q", 0) + b"x" * 4097),
        structured(1, struct.pack(">Q", 0) + b"x" * 100),
        structured(1, struct.pack(">Q", 0) + b"x" * 4096, cookie=99),
        structured(1, struct.pack(">Q", 0) + b"x" * 4096, flags=0) * 2,
        structured(2, struct.pack(">QI", 0, 0xFFFFFFFF)),
        structured(2, b"short"),
        structured(0, b""),
        structured(0, b"", flags=0),
        structured(5, struct.pack(">III", 7, 4096, 3)),
        structured(77, b""),
        structured(32769, b"x" * 10, size=1 << 30),
        structured(32769, b"\0\0"),
        struct.pack(">IIQ", 0x67446698, 0, 1) + b"x" * 4096,
        struct.pack(">IIQ", 0x67446698, 0, 99),
    ],
    ids=[
        "wrong-magic",
        "huge",
        "other-range",
        "too-much",
        "too-little",
        "answer-to-nothing",
        "twice",
        "huge-hole",
        "short-hole",
        "nothing",
        "nothing-and-more",
        "block-status",
        "unknown-kind",
        "huge-error",
        "short-error",
        "simple",
        "simple-to-nothing",
    ],
)
def test_a_bad_answer_to_a_read_is_refused(lie: Lie, answer: bytes) -> None:
    disk = nbd.open_disk(lie([*SOUND, answer]), writable=False, timeout_s=2)
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        disk.read_into(0, memoryview(bytearray(4096)))
    with pytest.raises(errors.Broken):
        disk.read_into(0, memoryview(bytearray(1)))
    disk.close()


@pytest.mark.parametrize(
    "answer",
    [
        structured(5, struct.pack(">III", 8, 4096, 0)),
        structured(5, struct.pack(">III", 7, 0, 0)),
        structured(5, struct.pack(">I", 7)),
        structured(5, struct.pack(">IIII", 7, 4096, 0, 4096)),
        structured(5, b"", size=1 << 28),
        structured(5, struct.pack(">III", 7, 4096, 0), flags=0) * 2,
        structured(0, b""),
        structured(1, struct.pack(">Q", 0) + b"x" * 10),
    ],
    ids=["other-context", "empty-extent", "no-extent", "half", "huge", "twice", "nothing", "data"],
)
def test_bad_block_status_is_refused(lie: Lie, answer: bytes) -> None:
    disk = nbd.open_disk(lie([*SOUND, answer]), writable=False, timeout_s=2)
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        list(disk.extents(0, SIZE))
    disk.close()


ZERO, DIRTY, BOTH = 2, 1, 3


def both(allocation: bytes, changes: bytes) -> bytes:
    return structured(5, allocation, flags=0) + structured(5, changes)


@pytest.mark.parametrize(
    "answer",
    [
        structured(5, struct.pack(">III", 7, SIZE, 0)),
        structured(5, struct.pack(">III", 8, SIZE, 0)),
        both(struct.pack(">III", 7, SIZE, 0), struct.pack(">III", 7, SIZE, 0)),
        both(struct.pack(">III", 8, SIZE, 0), struct.pack(">III", 8, SIZE, 0)),
        both(struct.pack(">III", 7, SIZE, 0), struct.pack(">III", 9, SIZE, 0)),
        both(struct.pack(">III", 7, SIZE, 0), struct.pack(">III", 8, 0, 0)),
    ],
    ids=["no-changes", "no-allocation", "twice", "changes-twice", "other-context", "empty-extent"],
)
def test_half_of_what_was_asked_of_a_tracked_disk_is_refused(lie: Lie, answer: bytes) -> None:
    disk = nbd.open_disk(lie([*TRACKED, answer]) + "&bitmap=mark", writable=False, timeout_s=2)
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        list(disk.extents(0, SIZE))
    disk.close()


def test_two_contexts_under_one_number_are_refused(lie: Lie) -> None:
    same = BITMAP.replace(struct.pack(">I", 8) + b"qemu", struct.pack(">I", 7) + b"qemu")
    locator = lie([GREETING, option_reply(8, 1), same + CONTEXT, OPENED]) + "&bitmap=mark"
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        nbd.open_disk(locator, writable=False, timeout_s=2)


def test_a_bitmap_that_nobody_asked_for_is_not_taken(lie: Lie) -> None:
    disk = nbd.open_disk(lie(TRACKED), writable=False, timeout_s=2)
    assert not disk.tracks_changes
    disk.close()


def test_both_kinds_of_status_are_laid_over_each_other() -> None:
    allocation = struct.pack(">IIIIII", 100, 0, 50, ZERO, 80, BOTH)
    changes = struct.pack(">IIIIII", 30, DIRTY, 90, 0, 60, DIRTY)
    assert list(laid_over(allocation, changes)) == [
        (30, False, True),
        (70, False, False),
        (20, True, False),
        (30, True, True),
        (30, True, True),
    ]
    assert list(laid_over(allocation, None)) == [(100, False, True), (50, True, True), (80, True, True)]
    assert list(laid_over(None, changes)) == [(30, False, True), (90, False, False), (60, False, True)]


def test_an_extent_beyond_the_end_is_cut(lie: Lie) -> None:
    answer = structured(5, struct.pack(">III", 7, 0xFFFFFFFF, 2))
    disk = nbd.open_disk(lie([*SOUND, answer]), writable=False, timeout_s=2)
    assert [(extent.start, extent.size, extent.zero) for extent in disk.extents(0, SIZE)] == [(0, SIZE, True)]
    disk.close()


def test_an_error_of_unknown_kind_is_an_error(lie: Lie) -> None:
    answer = structured(33000, struct.pack(">IH", 0, 0))
    disk = nbd.open_disk(lie([*SOUND, answer]), writable=False, timeout_s=2)
    with pytest.raises(errors.Broken, match=r"nbd\.request\.failed"):
        disk.read_into(0, memoryview(bytearray(4096)))
    disk.close()


def test_a_server_that_does_not_flush_is_not_written_to(lie: Lie) -> None:
    opened = option_reply(7, 3, struct.pack(">HQH", 0, SIZE, 1)) + option_reply(7, 1)
    with pytest.raises(errors.Refused, match=r"nbd\.export\.readonly"):
        nbd.open_disk(lie([*SOUND[:-1], opened]), writable=True, timeout_s=2)


@pytest.mark.parametrize(
    "locator",
    [
        "",
        "unix:relative",
        "tcp:host",
        "tcp:host:0",
        "tcp:host:99999",
        "tcp::1",
        "unix:/s?name=x",
        "unix:/s?export=x&y",
        "unix:/s?bitmap=x",
        "unix:/s?export=x&bitmap=y&bitmap=z",
        "http:/s",
        "tcp:a:b:1",
    ],
)
def test_a_bad_locator_is_refused(locator: str) -> None:
    with pytest.raises(errors.Invalid, match=r"nbd\.locator\.invalid"):
        address_of(locator)


def test_a_locator_may_hold_any_export_name() -> None:
    assert address_of("unix:/a%20b.sock?export=disk%3F0%26x").export == "disk?0&x"
    assert address_of("unix:/s?export=disk&bitmap=a%26b%3D").bitmap == "a&b="
    address = address_of("tcp:[::1]:10809?export=")
    assert (address.host, address.port, address.export) == ("::1", 10809, "")


def test_block_status_that_never_gets_ahead_is_refused(lie: Lie) -> None:
    blocks = option_reply(7, 3, struct.pack(">HIII", 3, 512, 4096, 1 << 20))
    answer = structured(5, struct.pack(">III", 7, 1, 0))
    disk = nbd.open_disk(lie([*SOUND[:-1], blocks + OPENED, answer]), writable=False, timeout_s=2)
    with pytest.raises(errors.Broken, match=r"nbd\.server\.malformed"):
        list(disk.extents(100, 1000))
    disk.close()
