"""Disks that a service takes in order only: written in any order, handed over again after breaks."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import Copy
from tests.unit.transfer.web import web

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockWriter
from crossport.testing.conformance.block import noise
from crossport.testing.memory_stream import MemoryService
from crossport.transfer import staging
from crossport.transfer.http_disk import HttpOpener
from crossport.transfer.http_upload import HttpUpload
from crossport.transfer.retry import Patience
from crossport.transfer.staged_writer import StagedWriter
from crossport.transfer.staging import BLOCK, Aside

SIZE = 5 * BLOCK + 17
CONTENT = noise(SIZE)
CANARY = b"the canary that nobody may find "
AT_ONCE = Patience(attempts=3, first_s=0.001)


@pytest.fixture
def file() -> Generator[IO[bytes]]:
    with tempfile.TemporaryFile() as one:
        yield one


def writer_of(file: IO[bytes], service: MemoryService, size: int = SIZE, base: int = 0) -> StagedWriter:
    shelf = Aside(file.fileno(), os.urandom, base).shelf(size)
    return StagedWriter(lambda: service.begin(size), size, shelf, patience=AT_ONCE)


def write_blocks(writer: BlockWriter, content: bytes, order: list[int]) -> None:
    for number in order:
        writer.write(number * BLOCK, content[number * BLOCK : (number + 1) * BLOCK])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]], ids=str)
def test_blocks_may_come_in_any_order(file: IO[bytes], order: list[int]):
    service = MemoryService()
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, order)
    writer.flush()
    assert service.kept == [CONTENT]
    writer.flush()
    writer.close()
    assert service.begun == 1


def test_the_service_is_fed_while_the_rest_is_on_its_way(file: IO[bytes]):
    service = MemoryService()
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [0, 1, 3])
    writer.flush()  # all is set aside that came, which is not the whole disk
    until(lambda: service.taken == 2 * BLOCK)
    write_blocks(writer, CONTENT, [2])
    until(lambda: service.taken == 4 * BLOCK)
    writer.close()
    assert service.kept == []


def test_after_breaks_it_is_fed_from_what_was_set_aside(file: IO[bytes]):
    breaks = [BLOCK, 2 * BLOCK, 2 * BLOCK, 4 * BLOCK, SIZE - 1]
    service = MemoryService(*breaks)
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [3, 1, 0, 2, 5, 4])
    writer.flush()
    writer.close()
    assert service.kept == [CONTENT]
    assert service.begun == 1 + len(breaks)


def test_a_service_that_breaks_again_and_again_at_the_same_place_is_given_up(file: IO[bytes]):
    service = MemoryService(*(2 * BLOCK for _ in range(9)))
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [0, 1, 2, 3, 4, 5])
    for _ in range(2):
        with pytest.raises(errors.Unavailable, match=r"memory\.stream\.broken"):
            writer.flush()
    with pytest.raises(errors.Unavailable, match=r"memory\.stream\.broken"):
        writer.write(0, b"x")
    writer.close()
    assert service.kept == []
    assert service.begun == AT_ONCE.attempts


def test_it_is_begun_again_only_when_there_is_more_for_it_than_the_last_time(file: IO[bytes]):
    service = MemoryService(BLOCK, BLOCK)
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [0, 1])
    until(lambda: service.begun == 3)
    until(lambda: service.taken == BLOCK + BLOCK + 2 * BLOCK)
    writer.close()


def test_what_is_written_anew_before_the_end_is_handed_over_anew(file: IO[bytes]):
    service = MemoryService()
    writer = writer_of(file, service)
    write_blocks(writer, noise(SIZE, "other"), [0, 1])
    until(lambda: service.taken == 2 * BLOCK)
    write_blocks(writer, CONTENT, [1, 0, 5, 4, 2, 3])
    writer.flush()
    assert service.kept == [CONTENT]
    write_blocks(writer, CONTENT, [3])  # the same once more is no change
    with pytest.raises(errors.Conflict, match=r"transfer\.stream\.taken"):
        writer.write(BLOCK, b"another")
    writer.close()


def test_it_is_not_begun_anew_before_there_is_more_for_it_however_often_it_is_written_over(file: IO[bytes]):
    service = MemoryService()
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [0, 1, 3])
    until(lambda: service.taken == 2 * BLOCK)
    for number in range(50):
        write_blocks(writer, noise(SIZE, f"{number}"), [1])
        time.sleep(0.001)
        assert service.begun == 1
    write_blocks(writer, CONTENT, [1, 2, 4, 5])
    writer.flush()
    writer.close()
    assert (service.kept, service.begun) == ([CONTENT], 2)


def test_a_hole_of_terabytes_costs_neither_room_nor_time(file: IO[bytes]):
    size = 2 << 40
    service = MemoryService()
    shelf = staging.Shelf(vars(Aside(file.fileno(), os.urandom).shelf(BLOCK))["_blocks"], size // BLOCK)
    writer = StagedWriter(lambda: service.begin(size), size, shelf, patience=AT_ONCE)
    writer.zero(3, size - 5)
    assert os.fstat(file.fileno()).st_blocks == 0
    writer.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 2 * BLOCK), st.booleans()), max_size=8))
def test_any_writes_and_holes_make_the_disk_that_plain_memory_makes(ranges: list[tuple[int, int, bool]]):
    service, expected = MemoryService(), bytearray(SIZE)
    with tempfile.TemporaryFile() as file:
        writer = writer_of(file, service)
        writer.zero(1, SIZE - 1)
        for number, (start, length, zero) in enumerate(ranges):
            size = min(length, SIZE - start)
            data = bytes(size) if zero else noise(size, f"{number}")
            writer.zero(start, size) if zero else writer.write(start, data)
            expected[start : start + size] = data
        writer.write(0, b"!")
        expected[0:1] = b"!"
        writer.flush()
        writer.close()
    assert service.kept == [bytes(expected)]


def test_many_threads_may_write_at_once(file: IO[bytes]):
    service, size = MemoryService(3 * BLOCK), 24 * BLOCK
    content, part = noise(24 * BLOCK), BLOCK // 4
    writer = writer_of(file, service, size)
    numbers = [number * 37 % (size // part) for number in range(size // part)]

    def write(mine: list[int]) -> None:
        for number in mine:
            writer.write(number * part, content[number * part : (number + 1) * part])

    threads = [threading.Thread(target=write, args=(numbers[lane::4],)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    writer.close()
    assert service.kept == [content]


def test_what_waits_is_noise_to_everybody_else_and_lies_behind_the_journal(file: IO[bytes]):
    service, base = MemoryService(), 8192
    file.write(b"j" * base)
    file.flush()
    content = (CANARY * BLOCK)[:SIZE]
    writer = writer_of(file, service, base=base)
    write_blocks(writer, content, [5, 4, 3, 2, 1, 0])
    writer.flush()
    writer.close()
    assert service.kept == [content]
    lying = os.pread(file.fileno(), 2 * SIZE, 0)
    assert lying[:base] == b"j" * base
    assert len(lying) > base + SIZE
    assert CANARY not in lying


def test_closing_ends_who_waits_for_the_service(file: IO[bytes]):
    service, met = MemoryService(), list[errors.Error]()
    service.held_up.clear()
    writer = writer_of(file, service)
    write_blocks(writer, CONTENT, [0, 1, 2, 3, 4, 5])

    def flush() -> None:
        try:
            writer.flush()
        except errors.Error as error:
            met.append(error)

    waiting = threading.Thread(target=flush)
    waiting.start()
    until(lambda: service.begun == 1)
    for _ in range(2):
        writer.close()
    waiting.join(20)
    assert isinstance(met[0], errors.Unavailable)
    for call in (lambda: writer.write(0, b"x"), lambda: writer.zero(0, 1), writer.flush):
        with pytest.raises(errors.Unavailable):
            call()
    assert service.kept == []


@pytest.mark.parametrize(("start", "size"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1), (1 << 60, 1)], ids=str)
def test_nothing_is_written_beyond_the_end(file: IO[bytes], start: int, size: int):
    writer = writer_of(file, MemoryService())
    for call in (lambda: writer.write(start, bytes(size)), lambda: writer.zero(start, size)):
        with pytest.raises(errors.Invalid):
            call()
    writer.close()


def test_a_disk_for_which_there_is_no_room_is_refused_before_a_byte_moves(file: IO[bytes]):
    with pytest.raises(errors.Conflict, match=r"are free.*transfer\.staging\.room") as refused:
        Aside(file.fileno(), os.urandom).shelf(1 << 52)
    assert "TMPDIR" in refused.value.remedy


@pytest.mark.parametrize(
    "content", [CONTENT, bytes(SIZE), bytes(BLOCK) + CONTENT], ids=["data", "zero", "mixed"]
)
def test_a_copy_by_the_protocol_ends_when_the_service_has_the_disk(file: IO[bytes], content: bytes):
    copy, service = Copy(content), MemoryService(BLOCK)
    copy.writer = writer_of(file, service, len(content), base=1 << 20)
    sent, received = copy.run()
    assert sent == received
    assert isinstance(sent, bytes)
    assert service.kept == [content]


def test_a_web_server_that_breaks_off_in_the_middle_gets_the_disk_all_the_same(file: IO[bytes]):
    with web(b"") as served:
        served.uploads.breaks = [2 * BLOCK, 3 * BLOCK]
        served.uploads.declines = [503]
        egress = served.egress(f"http://127.0.0.1:{served.port}")
        opener = HttpOpener(
            egress,
            sleep=list[float]().append,
            patience=AT_ONCE,
            aside=Aside(file.fileno(), os.urandom),
        )
        writer = opener.open_writer(DiskRef(kind="http", locator=served.url, size=SIZE))
        write_blocks(writer, CONTENT, [4, 0, 3, 1, 2, 5])
        writer.flush()
        writer.close()
        assert served.uploads.kept == [CONTENT]
        assert served.uploads.begun == 3


@pytest.mark.parametrize("status", [307, 409, 413])
def test_a_server_that_declines_is_told_with_its_answer(file: IO[bytes], status: int):
    with web(b"") as served:
        served.uploads.declines = [status]
        egress = served.egress(f"http://127.0.0.1:{served.port}")
        opener = HttpOpener(egress, sleep=list[float]().append, aside=Aside(file.fileno(), os.urandom))
        writer = opener.open_writer(DiskRef(kind="http", locator=served.url, size=SIZE))
        writer.zero(0, SIZE)
        with pytest.raises(errors.Refused, match=rf"{status} .*transfer\.http\.declined"):
            writer.flush()
        writer.close()
        assert served.uploads.begun == 1


@pytest.mark.parametrize("told", [True, False], ids=["told", "not-told"])
def test_who_is_declined_after_a_lost_answer_learns_that_the_disk_is_probably_there(
    file: IO[bytes], told: bool
):
    with web(CONTENT) as served:
        served.uploads.mute, served.uploads.declines = 1, [0, 409]
        served.answers = [] if told else [403]
        opener = HttpOpener(
            served.egress(f"http://127.0.0.1:{served.port}"),
            sleep=list[float]().append,
            patience=AT_ONCE,
            aside=Aside(file.fileno(), os.urandom),
        )
        writer = opener.open_writer(DiskRef(kind="http", locator=served.url, size=SIZE))
        write_blocks(writer, CONTENT, [0, 1, 2, 3, 4, 5])
        with pytest.raises(errors.Conflict, match=r"transfer\.stream\.unanswered") as refused:
            writer.flush()
        writer.close()
        assert served.uploads.kept == [CONTENT]
    assert ": 409" in refused.value.text
    assert (f"an object of {SIZE} bytes" in refused.value.text) == told
    assert ("403" in refused.value.text) != told


def test_a_lost_answer_is_asked_for_again_where_the_service_takes_the_disk_twice(file: IO[bytes]):
    with web(b"") as served:
        served.uploads.mute = 1
        egress = served.egress(f"http://127.0.0.1:{served.port}")
        aside = Aside(file.fileno(), os.urandom)
        opener = HttpOpener(egress, sleep=list[float]().append, patience=AT_ONCE, aside=aside)
        writer = opener.open_writer(DiskRef(kind="http", locator=served.url, size=SIZE))
        write_blocks(writer, CONTENT, [0, 1, 2, 3, 4, 5])
        writer.flush()
        writer.close()
        assert served.uploads.kept == [CONTENT, CONTENT]


def test_a_body_that_was_closed_by_another_thread_does_not_go_on_as_a_request():
    with web(b"") as served:
        upload = HttpUpload(served.url, SIZE, served.egress(f"http://127.0.0.1:{served.port}"), None, 20.0)
        upload.write(CONTENT[:BLOCK])
        vars(upload)["_connection"].close()  # as far as another thread gets before this one writes
        with pytest.raises(errors.Unavailable, match=r"transfer\.http\.away"):
            upload.write(CONTENT[BLOCK:])
        upload.close()
        ends = time.monotonic() + 10.0  # the server counts in a thread of its own
        while not served.connections and time.monotonic() < ends:
            time.sleep(0.01)
        assert served.connections == 1


def test_a_target_that_would_have_to_be_gone_on_with_is_refused(file: IO[bytes]):
    with web(b"") as served:
        opener = HttpOpener(
            served.egress(), sleep=list[float]().append, aside=Aside(file.fileno(), os.urandom)
        )
        with pytest.raises(errors.Invalid, match=r"transfer\.disk\.kind"):
            opener.open_writer(DiskRef(kind="http", locator=served.url, size=SIZE, identity="one"))
