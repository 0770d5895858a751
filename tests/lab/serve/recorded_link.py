"""Somebody in the middle of the link to a site, who has copies of both sites' keys: records, and plays back.

TLS ends here and begins anew, so that what is recorded is what the sites say. Who has neither authority
cannot do this. A site has to stand it all the same: what it is told twice must not be done twice.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.lab.transfer.transfer_lab import MachineClock

from crossport.identity import SiteIdentity
from crossport.partner.handshake import CONTROL, HTTP, LINES, checked_context

__all__ = ["Middle", "Said", "requests_in"]

T = TypeVar("T")

LONG_S = 120.0
PIECE = 64 << 10
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""For OpenSSL: the clocks of the sites may be ahead of this one."""
QUIET_S = 0.5
"""A stream that is played back is over when nothing came for so long; a request is over with its answer."""


@dataclass
class Said:
    """All that was said to the site on one connection, in the protocol that both chose."""

    speaks: str
    words: bytearray = field(default_factory=bytearray)


class Middle:
    """Stands before a site: it listens at ``host``, and the site at the same port of 127.0.0.1.

    ``ends`` are the site and the one that dials it, each with the directory in which its authority lies. At
    first it passes on what it cannot read, such as an invitation's exchange; after `listen_in` it reads all.
    """

    def __init__(self, ends: Sequence[tuple[str, Path]], host: str, port: int) -> None:
        self.said: list[Said] = []
        self._host, self._port = host, port
        self._ends = ends
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._done(asyncio.start_server(self._blind, self._host, self._port))
        return self

    def __exit__(self, *_: object) -> None:
        self._done(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen_in(self) -> None:
        """End what is under way, and read all that comes from now on."""
        identities = [SiteIdentity.open(folder, name, clock=MachineClock()) for name, folder in self._ends]
        self._authorities = [one.authority_pem for one in identities]
        leaves = [one.issue(CONTROL, "partners", lifetime_s=86400) for one in identities]
        self._as_site, self._as_other = [(leaf.certificate_pem, leaf.key_pem) for leaf in leaves]
        self._done(self._ended())
        context = self._context(ssl.PROTOCOL_TLS_SERVER, (LINES, HTTP))
        self._server = self._done(asyncio.start_server(self._between, self._host, self._port, ssl=context))

    def play(self, said: Said) -> bytes:
        """Say it to the site again, as whoever dialled it; return what is answered."""
        return self._done(self._played(said))

    def _done(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(LONG_S)

    def _context(self, protocol: int, speaks: Sequence[str]) -> ssl.SSLContext:
        own = self._as_site if protocol == ssl.PROTOCOL_TLS_SERVER else self._as_other
        context = checked_context(protocol, self._authorities, own, lambda _: True, speaks)
        context.verify_flags |= NO_CHECK_TIME
        return context

    async def _ended(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        self._writers.clear()

    async def _blind(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(_passed(reader, back, bytearray()), _passed(there, writer, bytearray()))

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what either says; keep what is said to the site."""
        said = Said(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        self.said.append(said)
        try:
            there, back = await self._dialled(said.speaks)
        except OSError:
            writer.transport.abort()  # so it would be without anybody in the middle
            return
        self._writers += [writer, back]
        await asyncio.gather(_passed(reader, back, said.words), _passed(there, writer, bytearray()))

    async def _dialled(self, speaks: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self._context(ssl.PROTOCOL_TLS_CLIENT, (speaks,))
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=context, server_hostname="")

    async def _played(self, said: Said) -> bytes:
        reader, writer = await self._dialled(said.speaks)
        answer = bytearray()
        try:
            writer.write(bytes(said.words))
            await writer.drain()
            while not (said.speaks == HTTP and _is_whole(answer)):
                async with asyncio.timeout(LONG_S if said.speaks == HTTP else QUIET_S):
                    piece = await reader.read(PIECE)
                if not piece:
                    break
                answer += piece
        except (TimeoutError, ConnectionError):
            if said.speaks == HTTP:
                raise
        finally:
            writer.transport.abort()
        return bytes(answer)


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):  # either end may be killed
        while piece := await reader.read(PIECE):
            kept += piece
            writer.write(piece)
            await writer.drain()
    writer.close()


def requests_in(said: Said) -> list[Said]:
    """Return the requests of a connection over HTTP each by itself; a stream as it is."""
    if said.speaks != HTTP:
        return [said]
    found: list[Said] = []
    rest = bytes(said.words)
    while size := _size(rest):
        found.append(Said(HTTP, bytearray(rest[:size])))
        rest = rest[size:]
    return found


def _size(message: bytes) -> int:
    """Return how long an HTTP message is that says how long its body is; 0 while that did not come yet."""
    head, end, _ = message.partition(b"\r\n\r\n")
    if not end:
        return 0
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    [length] = [int(value) for name, _, value in lines if name == b"content-length"]
    return len(head) + len(end) + length


def _is_whole(answer: bytearray) -> bool:
    size = _size(bytes(answer))
    return 0 < size <= len(answer)
