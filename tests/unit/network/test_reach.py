"""Asking a guest that misbehaves: whatever it sends, the answer is small and comes in time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from crossport import errors
from crossport.clouds.local.network import reach

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
TIMEOUT_S = 0.4


@contextlib.asynccontextmanager
async def guest(behaviour: Behaviour) -> AsyncGenerator[reach.Question]:
    """Serve on loopback, each connection by ``behaviour``."""

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                await reader.readline()
                await behaviour(writer)
                await writer.drain()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield reach.question(f"http://127.0.0.1:{port}/ready?x=1", timeout_s=TIMEOUT_S)
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await asyncio.sleep(0)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def greeting(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9\r\n")


async def failing(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Not yet\r\nContent-Length: 6\r\n\r\nlater!")


async def keeping_open(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready")
    await writer.drain()
    await asyncio.sleep(TIMEOUT_S / 2)


async def test_an_endless_answer_is_cut() -> None:
    async with guest(endless) as asked:
        answer = await reach.reached(asked)
    assert answer.good
    assert 1000 < len(answer.text) <= 65536


async def test_a_dripping_answer_ends_in_time() -> None:
    began = time.monotonic()
    async with guest(dripping) as asked:
        answer = await reach.reached(asked)
    assert (answer.good, answer.text) == (False, "no answer in time")
    assert time.monotonic() - began < 20 * TIMEOUT_S


@pytest.mark.parametrize(
    ("behaviour", "good", "status", "text"),
    [
        (greeting, False, 0, "the answer is not HTTP"),
        (failing, False, 503, "later!"),
        (keeping_open, True, 200, "ready"),
    ],
    ids=["greeting", "failing", "keeping-open"],
)
async def test_an_answer_is_told_as_it_is(behaviour: Behaviour, good: bool, status: int, text: str) -> None:
    async with guest(behaviour) as asked:
        answer = await reach.reached(asked)
    assert (answer.good, answer.status, answer.text) == (good, status, text)


async def test_nobody_listening_is_an_answer_too() -> None:
    answer = await reach.reached(reach.question("tcp://127.0.0.1:1", timeout_s=TIMEOUT_S))
    assert (answer.good, answer.text) == (False, "Connection refused")


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "http://guest/", "tcp://10.0.0.1", "10.0.0.1", "http://10.0.0.1:0x50/"]
)
def test_a_url_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        reach.question(url)
    assert caught.value.code == "cloud.reach.url"


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y"])
def test_a_path_cannot_smuggle_a_header(path: str) -> None:
    with pytest.raises(errors.Invalid):
        reach.Question(host="10.0.0.1", port=80, kind="http", path=path)
