"""The site's end of a clamd, against one that answers oddly: nothing but OK lets a file pass."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from crossport import errors
from crossport.inspector import Clamd, clamd


@contextlib.asynccontextmanager
async def answering(place: Path, answer: bytes, *, reads: int = -1) -> AsyncGenerator[list[bytes]]:
    """Listen as a clamd that takes a question (``reads`` bytes, or up to its end), and says ``answer``."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readuntil(b"\0")
        got.append(command)
        if command == b"zINSTREAM\0" and reads < 0:
            while size := int.from_bytes(await reader.readexactly(4), "big"):
                got.append(await reader.readexactly(size))
        elif command == b"zINSTREAM\0":
            await reader.readexactly(reads)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, place)
    try:
        yield got
    finally:
        server.close()
        await server.wait_closed()


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


async def scan(place: Path, *texts: bytes, file_size: int = 100) -> None:
    size = sum(map(len, texts))
    await Clamd(str(place), file_size, answer_s=5.0).scan("0/bin/a", size, pieces(*texts))


async def test_a_clean_file_arrives_as_it_is(tmp_path: Path):
    place = tmp_path / "clamd"
    async with answering(place, b"stream: OK\0") as got:
        await scan(place, b"abc", b"d")
    assert got == [b"zINSTREAM\0", b"abc", b"d"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"stream: Eicar-Test-Signature FOUND\0", "image.malware"),
        (b"stream: \x1b[2J FOUND\0", "image.malware"),
        (b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0", "image.scan.left"),
        (b"INSTREAM size limit exceeded. ERROR\0", "image.scan.left"),
        (b"stream: Can't allocate memory ERROR\0", "image.scan.failed"),
        (b"stream: OK ERROR\0", "image.scan.failed"),
        (b"OK\0", "image.scan.failed"),
        (b"\0", "image.scan.failed"),
        (b"stream: OK", "image.scan.away"),
        (b"", "image.scan.away"),
        (b"x" * 10_000, "image.scan.away"),
    ],
)
async def test_nothing_but_ok_lets_a_file_pass(tmp_path: Path, answer: bytes, code: str):
    place = tmp_path / "clamd"
    with pytest.raises(errors.Error) as caught:
        async with answering(place, answer):
            await scan(place, b"abc")
    assert caught.value.code == code
    assert "\x1b" not in caught.value.text
    assert code == "image.scan.away" or "0/bin/a" in caught.value.text


async def test_what_it_says_before_it_hangs_up_is_heard(tmp_path: Path):
    place = tmp_path / "clamd"
    with pytest.raises(errors.Error) as caught:
        async with answering(place, b"INSTREAM size limit exceeded. ERROR\0", reads=4):
            await scan(place, *[b"x" * 60_000] * 100, file_size=10_000_000)
    assert caught.value.code in {"image.scan.left", "image.scan.away"}


async def test_a_file_larger_than_it_scans_is_left_out_and_told(tmp_path: Path):
    with pytest.raises(errors.Refused) as caught:
        await scan(tmp_path / "clamd", b"x" * 101)
    assert (caught.value.code, caught.value.field) == ("image.scan.left", "clamd_file_size")


async def test_a_clamd_that_is_not_there_lets_nothing_pass(tmp_path: Path):
    clamd = Clamd(str(tmp_path / "clamd"))
    for asked in (clamd.ready(), clamd.scan("0/a", 1, pieces(b"a"))):
        with pytest.raises(errors.Unavailable) as caught:
            await asked
        assert (caught.value.code, caught.value.field) == ("image.scan.away", "clamd")


async def test_it_is_asked_whether_it_is_a_clamd(tmp_path: Path):
    async with answering(tmp_path / "a", b"PONG\0"):
        await Clamd(str(tmp_path / "a")).ready()
    async with answering(tmp_path / "b", b"HTTP/1.1 400\0"):
        with pytest.raises(errors.Unavailable, match="HTTP"):
            await Clamd(str(tmp_path / "b")).ready()


async def test_one_that_does_not_answer_is_asked_for_a_few_seconds_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As behind an address where nothing answers: a site is not described later for it each time."""
    monkeypatch.setattr(clamd, "READY_S", 0.05)
    asked: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\0"))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, tmp_path / "clamd")
    one = Clamd(str(tmp_path / "clamd"))
    for _ in range(3):
        with pytest.raises(errors.Unavailable) as caught:
            await one.ready()
        assert caught.value.code == "image.scan.away"
    server.close()
    await server.wait_closed()
    assert asked == [b"zPING\0"]


async def test_one_that_takes_less_than_it_will_be_given_is_told_before_it_gets_anything(tmp_path: Path):
    offered: list[bytes] = []

    async def small(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readuntil(b"\0") == b"zPING\0":
            writer.write(b"PONG\0")
        else:
            offered.append(await reader.read())
            writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        writer.close()

    server = await asyncio.start_unix_server(small, tmp_path / "clamd")
    with pytest.raises(errors.Refused) as caught:
        await Clamd(str(tmp_path / "clamd"), 1000).ready()
    server.close()
    await server.wait_closed()
    assert (caught.value.code, offered) == ("image.scan.limit", [(1000).to_bytes(4, "big")])
    assert "StreamMaxLength 1000" in caught.value.remedy
