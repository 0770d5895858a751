"""A thin client of the API: sends calls, returns records, raises the site's own errors, follows runs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any, Self, TypeVar

import httpx

from crossport import errors
from crossport.client import calls
from crossport.client.call import Call, Page, path
from crossport.client.credential import Bearer, Credential, Sent
from crossport.client.endpoint import Endpoint
from crossport.client.failure import failure, unreachable
from crossport.client.stream import Reader
from crossport.model import codec
from crossport.model.run import Event
from crossport.spi.secret import Secret

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")

CONNECT_S = 10.0
SILENCE_S = 60.0
"""A stream is given up when not even a heartbeat came for so long; the server sends one every 15 s."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0)
"""Between attempts to follow a run again; they begin anew after each event that arrives."""


class Client:
    """Talks to one site. Use as a context manager. ``sleep`` waits between attempts to follow a run.

    ``token`` is what it sends: a token that is enough by itself, or what makes the headers of each request.
    """

    def __init__(
        self, endpoint: Endpoint, token: Secret | Credential, sleep: Callable[[float], object]
    ) -> None:
        self._endpoint = endpoint
        self._sleep = sleep
        transport = httpx.HTTPTransport(uds=endpoint.socket or None, verify=endpoint.tls or True)
        self._http = httpx.Client(transport=transport, **_options(endpoint, token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections. May be called twice."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Return the answer. Raise the site's error, or Unavailable when it does not answer."""
        try:
            answer = self._http.request(call.method, call.path, **_request(call))
        except httpx.HTTPError as error:
            raise unreachable(error, self._endpoint.name) from error
        return _answer(call, answer.status_code, answer.content, self._endpoint.name)

    def upload(self, call: Call[T], content: Iterator[bytes]) -> T:
        """Send ``content`` as the body of ``call``; return the answer, as ``send`` does."""
        request: dict[str, Any] = {
            **_request(call),
            "content": content,
            "headers": {"Content-Type": "application/octet-stream"},
        }
        try:
            answer = self._http.request(call.method, call.path, **request)
        except httpx.HTTPError as error:
            raise unreachable(error, self._endpoint.name) from error
        return _answer(call, answer.status_code, answer.content, self._endpoint.name)

    def pages(self, call: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
        """Yield the items of all pages; ``call`` makes the call for the page behind a place."""
        page = self.send(call(""))
        yield from page.items
        while page.next:
            page = self.send(call(page.next))
            yield from page.items

    def follow(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the run's events behind number ``after`` until it is final, over broken connections.

        Raise Unavailable when the site stays silent longer than all pauses together.
        """
        reader, pauses = Reader(after), _Pauses()
        while True:
            try:
                yield from self._events(run, reader)
                if reader.ended or self.send(calls.run(run)).state.final:
                    return
                raise unreachable(httpx.ReadError("the stream ended early"), self._endpoint.name)
            except errors.Unavailable as error:
                self._sleep(pauses.next(reader.last, error))
                reader.reconnect()

    def _events(self, run: str, reader: Reader) -> Iterator[Event]:
        """Yield the events of one connection."""
        try:
            with self._http.stream("GET", path("runs", run, "events"), **_stream(reader)) as answer:
                if answer.status_code != HTTPStatus.OK:
                    raise failure(answer.status_code, answer.read(), self._endpoint.name)
                for line in answer.iter_lines():
                    yield from reader.take(line)
        except httpx.HTTPError as error:
            raise unreachable(error, self._endpoint.name) from error


class AsyncClient:
    """Talks to one site without blocking. Use as an asynchronous context manager."""

    def __init__(
        self, endpoint: Endpoint, token: Secret, sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._endpoint = endpoint
        self._sleep = sleep
        transport = httpx.AsyncHTTPTransport(uds=endpoint.socket or None, verify=endpoint.tls or True)
        self._http = httpx.AsyncClient(transport=transport, **_options(endpoint, token))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections. May be called twice."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Return the answer. Raise the site's error, or Unavailable when it does not answer."""
        try:
            answer = await self._http.request(call.method, call.path, **_request(call))
        except httpx.HTTPError as error:
            raise unreachable(error, self._endpoint.name) from error
        return _answer(call, answer.status_code, answer.content, self._endpoint.name)

    async def follow(self, run: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield the run's events as ``Client.follow`` does."""
        reader, pauses = Reader(after), _Pauses()
        while True:
            try:
                async for event in self._events(run, reader):
                    yield event
                if reader.ended or (await self.send(calls.run(run))).state.final:
                    return
                raise unreachable(httpx.ReadError("the stream ended early"), self._endpoint.name)
            except errors.Unavailable as error:
                await self._sleep(pauses.next(reader.last, error))
                reader.reconnect()

    async def _events(self, run: str, reader: Reader) -> AsyncIterator[Event]:
        """Yield the events of one connection."""
        try:
            async with self._http.stream("GET", path("runs", run, "events"), **_stream(reader)) as answer:
                if answer.status_code != HTTPStatus.OK:
                    raise failure(answer.status_code, await answer.aread(), self._endpoint.name)
                async for line in answer.aiter_lines():
                    for event in reader.take(line):
                        yield event
        except httpx.HTTPError as error:
            raise unreachable(error, self._endpoint.name) from error


class _Pauses:
    """How long to wait before following again: longer each time, and not for ever."""

    def __init__(self) -> None:
        self._last = -1
        self._left: Iterator[float] = iter(())

    def next(self, last: int, error: errors.Unavailable) -> float:
        """Return the next pause after event ``last``; raise ``error`` when it is hopeless."""
        if last > self._last:
            self._last, self._left = last, iter(PAUSES_S)
        for pause in self._left:
            return pause
        raise error


def _options(endpoint: Endpoint, token: Secret | Credential) -> dict[str, Any]:
    """Return what both kinds of client need. The environment's proxies are not for tokens."""
    return {
        "base_url": endpoint.url,
        "auth": Sent(Bearer(token) if isinstance(token, Secret) else token),
        "timeout": httpx.Timeout(60.0, connect=CONNECT_S),
        "trust_env": False,
    }


def _request(call: Call[Any]) -> dict[str, Any]:
    headers = {"Idempotency-Key": call.key} if call.key else {}
    if call.form:
        timeout = httpx.Timeout(call.patience_s, connect=CONNECT_S)
        return {"data": dict(call.form), "timeout": timeout}
    content = codec.encoded(call.body) if call.body is not None else None
    if content is not None:
        headers["Content-Type"] = "application/json"
    timeout = httpx.Timeout(call.patience_s, connect=CONNECT_S)
    return {"content": content, "headers": headers, "params": dict(call.query), "timeout": timeout}


def _stream(reader: Reader) -> dict[str, Any]:
    headers = {"Last-Event-ID": str(reader.last)} if reader.last else {}
    return {"headers": headers, "timeout": httpx.Timeout(SILENCE_S, connect=CONNECT_S)}


def _answer(call: Call[T], status: int, content: bytes, name: str) -> T:
    if status >= HTTPStatus.BAD_REQUEST:
        raise failure(status, content, name)
    answer: T = codec.decoded(content, call.kind) if call.kind is not None else None  # type: ignore[assignment]
    return answer
