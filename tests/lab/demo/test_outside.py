"""Somebody outside: real processes that ask a real HTTP server on loopback, and note when it answered."""

import asyncio
import http.server
import threading
from collections.abc import Generator
from http import HTTPStatus

import pytest

from crossport import errors
from crossport.cli.demo.visitor import Visitor, Watcher

SEEN_S = 1.0
"""Long enough for several of twenty questions a second, on a busy machine too."""


class Page(http.server.BaseHTTPRequestHandler):
    """Answers everything with an empty page."""

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method it replaces
        del format, args


class Site:
    """A server that can be stopped."""

    def __init__(self) -> None:
        self._server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def site() -> Generator[Site]:
    made = Site()
    yield made
    made.stop()


async def test_a_watcher_sees_the_last_answer_of_one_and_the_first_of_another(site: Site) -> None:
    async with Watcher.posted("") as one, Watcher.posted("") as other:
        await one.watch(site.url)
        await asyncio.sleep(SEEN_S)
        site.stop()
        second = Site()
        try:
            await other.watch(second.url)
            await asyncio.sleep(SEEN_S)
            gone, came = await one.relieved(), await other.relieved()
        finally:
            second.stop()
    assert gone.count > 1
    assert came.count > 1
    assert 0 < gone.first < gone.last < came.first


async def test_a_watcher_of_nobody_sees_nothing(site: Site) -> None:
    site.stop()
    async with Watcher.posted("") as watcher:
        await watcher.watch(site.url)
        assert (await watcher.relieved()).count == 0


async def test_a_port_is_told_as_open_or_refused(site: Site) -> None:
    async with Visitor.sent("") as visitor:
        assert await visitor.accepts(site.url, site.port) == "open"
        site.stop()
        assert await visitor.accepts(site.url, site.port) == "refused"


async def test_a_guest_that_does_not_answer_is_unavailable(site: Site) -> None:
    site.stop()
    async with Visitor.sent("") as visitor:
        with pytest.raises(errors.Unavailable, match="does not answer"):
            await visitor.state(site.url)


async def test_what_answers_but_is_no_guest_is_broken(site: Site) -> None:
    async with Visitor.sent("") as visitor:
        with pytest.raises(errors.Broken, match=r"not the small guest|not JSON"):
            await visitor.state(site.url)
