"""Following a run: events in order and once, whatever happens to the connection."""

import asyncio
import gc
import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossport import errors
from crossport.client import AsyncClient, Client, calls, over_socket, over_tls
from crossport.client.failure import failure
from crossport.client.stream import Reader
from crossport.model import codec
from crossport.model.run import Event, EventKind, RunState
from crossport.spi.secret import Secret

TOKEN = Secret("xp_test")


def frame(number: int, state: RunState | None = None) -> str:
    kind = EventKind.STATE if state else EventKind.LOG
    event = codec.encoded(Event(kind=kind, number=number, state=state, text=f"{number}"))
    return f"event: {kind}\ndata: {event}\nid: {number}\n\n"


HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
RUN = '{"id":"r","kind":"migrate","tenant":"d","state":"STATE","subject":"web","created":0}'


def answer(text: str) -> str:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"


@contextmanager
def scripted(path: Path, *answers: str) -> Generator[list[str]]:
    """Answer each connection with the next text, then refuse; yield the requests that came."""
    seen: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for text in answers:
                connection, _ = listener.accept()
                with connection:
                    seen.append(connection.recv(65536).decode())
                    connection.sendall(text.encode())
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield seen
        thread.join(5)


def numbers(path: Path, pauses: list[float] | None = None) -> list[int]:
    kept: list[float] = [] if pauses is None else pauses
    with Client(over_socket(path), TOKEN, kept.append) as client:
        return [event.number for event in client.follow("r")]


def test_a_stream_that_breaks_is_taken_up_behind_the_last_event(tmp_path: Path):
    broken = HEAD + frame(1) + frame(2) + "event: log\ndata: {"
    rest = HEAD + frame(2) + ": ping\n\n" + frame(3, RunState.DONE)
    path = tmp_path / "s"
    with scripted(path, broken, answer(RUN.replace("STATE", "running")), rest) as seen:
        pauses: list[float] = []
        assert numbers(path, pauses) == [1, 2, 3]
    assert "last-event-id" not in seen[0].lower()
    assert "last-event-id: 2" in seen[2].lower()
    assert pauses == [0.2]


def test_the_asynchronous_client_follows_in_the_same_way(tmp_path: Path):
    path = tmp_path / "s"
    script = (HEAD + frame(1), answer(RUN.replace("STATE", "running")), HEAD + frame(2, RunState.DONE))

    async def follow() -> list[int]:
        async def sleep(_: float) -> None: ...

        async with AsyncClient(over_socket(path), TOKEN, sleep) as client:
            return [event.number async for event in client.follow("r")]

    with scripted(path, *script):
        assert asyncio.run(follow()) == [1, 2]


def test_a_run_that_was_final_before_ends_the_following(tmp_path: Path):
    path = tmp_path / "s"
    with scripted(path, HEAD, answer(RUN.replace("STATE", "done"))):
        assert numbers(path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_site_that_stays_away_is_given_up_after_all_pauses(tmp_path: Path):
    pauses: list[float] = []
    with pytest.raises(errors.Unavailable) as caught:
        numbers(tmp_path / "nobody", pauses)
    assert caught.value.code == "client.server.unreachable"
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0]
    # httpcore leaves a socket that could not connect to the collector, with a warning.
    del caught
    gc.collect()


def test_an_unknown_run_is_told_at_once(tmp_path: Path):
    told = json.dumps({"code": "run.unknown", "detail": "x", "kind": "NotFound"})
    path = tmp_path / "s"
    with scripted(path, answer(told).replace("200 OK", "404 Not Found")), pytest.raises(errors.NotFound):
        numbers(path)


def test_the_token_is_sent_and_the_key_too(tmp_path: Path):
    path = tmp_path / "s"
    with (
        scripted(path, answer(RUN.replace("STATE", "queued"))) as seen,
        Client(over_socket(path), TOKEN, lambda _: None) as client,
    ):
        run = client.send(calls.run_plan("a/b ?", "k1"))
    assert run.state is RunState.QUEUED
    assert seen[0].startswith("POST /v1/plans/a%2Fb%20%3F/run HTTP/1.1\r\n")
    assert "authorization: Bearer xp_test\r\n" in seen[0].lower().replace("bearer", "Bearer")
    assert "idempotency-key: k1\r\n" in seen[0].lower()


@pytest.mark.parametrize(
    "kind",
    [
        "Blocked",
        "Broken",
        "Cancelled",
        "Conflict",
        "Invalid",
        "NeedsAttention",
        "NotFound",
        "Refused",
        "RolledBack",
    ],
)
def test_the_error_that_the_site_raised_is_raised_here(kind: str):
    told = {"code": "a.b", "detail": "text", "kind": kind, "remedy": "do", "field": "f"}
    error = failure(409, json.dumps(told).encode(), "site")
    assert type(error) is getattr(errors, kind)
    assert (error.code, error.text, error.remedy, error.field) == ("a.b", "text", "do", "f")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"code":1}', b"\xff"])
def test_an_answer_of_something_else_is_not_taken_for_the_site(content: bytes):
    assert failure(502, content, "site").code == "client.server.foreign"


def test_a_token_does_not_travel_in_clear():
    with pytest.raises(errors.Invalid):
        over_tls("http://site.example")


def test_a_reader_takes_data_of_several_lines_and_leaves_comments():
    reader = Reader()
    text = codec.encoded(Event(kind=EventKind.LOG, number=1)).replace(",", ",\n", 1)
    lines = [": hello", *(f"data: {line}" for line in text.splitlines()), "", ""]
    assert [event.number for line in lines for event in reader.take(line)] == [1]
