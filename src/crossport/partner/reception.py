"""Who of those that completed the handshake may ask what, and their requests over HTTP (ASGI)."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from crossport import errors
from crossport.identity.partners import is_known, require_trusted
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.partner import Partner
from crossport.partner.lines import TlsLines
from crossport.partner.operations import Operations
from crossport.partner.refusals import Refusals
from crossport.spi.partner import Partners

__all__ = ["EXCHANGE", "PATH", "Book", "Peer", "Reception"]

PATH = "/partner/v1/"
EXCHANGE = "exchange"
"""The one operation of whoever holds an invitation."""
MAX_BODY = 8 << 20
BODY_S = 60.0
"""How long a partner may take to send a request."""
ANSWER_S = 600.0

Message = MutableMapping[str, Any]


class Book(Partners, Protocol):
    """What the link needs of the book: `identity.partners.KeptPartners`."""

    async def known(self, name: str) -> Partner:
        """Return one in whatever state; raise NotFound ``partner.unknown``."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection: a partner's name, or the invitation that somebody holds."""

    partner: str = ""
    invitation: str = ""


class Reception:
    """Answers peers, and has it written down when they are refused.

    Of the ``operations`` the second are what a partner may ask before it is confirmed, and when it is stale.
    """

    def __init__(
        self,
        book: Book,
        operations: tuple[Operations, Operations],
        exchange: Callable[[str, bytes], Awaitable[bytes]],
        refusals: Refusals,
    ) -> None:
        self._book = book
        self._operations, self._early = operations
        self._refusals = refusals
        self._exchange = exchange
        self._answering: dict[asyncio.Task[bytes], Peer] = {}
        self._log: Any = structlog.get_logger("crossport.partner")

    async def answer(self, peer: Peer, operation: str, body: bytes) -> bytes:
        """Return the answer to a request."""
        if peer.invitation:
            if operation != EXCHANGE:
                raise _not_yours()
            return await self._exchange(peer.invitation, body)
        caller, table = await self._caller(peer, operation, self._early.answers)
        return await table.answering(operation)(caller, body)

    def dismiss(self, peer: Peer) -> None:
        """Do no more for a peer of what it asked."""
        for task, one in tuple(self._answering.items()):
            if one == peer:
                task.cancel()

    async def converse(self, peer: Peer, lines: TlsLines) -> None:
        """Hold the conversation that the peer opens with its first line."""
        operation, opening = _opening(await lines.receive() or b"")
        try:
            caller, table = await self._caller(peer, operation, self._early.conversations)
            converse = table.conversing(operation)
            await lines.send(b"")
            await converse(caller, opening, lines)
        except errors.Refused as error:
            await self._refusals.note(_called(peer), operation, error)
            raise

    async def asgi(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        """Serve one request over HTTP. ``scope["state"]`` says who asks."""
        peer: Peer = scope["state"]["peer"]
        try:
            status, answer = 200, await self._told(peer, scope, receive)
        except errors.Error as error:
            self._log.info("partner refused", partner=peer.partner, path=scope["path"], code=error.code)
            status, answer = error.status, codec.encoded(Failure.of(error)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(answer)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _told(self, peer: Peer, scope: Message, receive: Callable[[], Awaitable[Message]]) -> bytes:
        try:
            return await self._asked(peer, scope, receive)
        except errors.Refused as error:
            await self._refusals.note(_called(peer), scope["path"].removeprefix(PATH), error)
            raise

    async def _asked(self, peer: Peer, scope: Message, receive: Callable[[], Awaitable[Message]]) -> bytes:
        path: str = scope["path"]
        if scope["method"] != "POST" or not path.startswith(PATH):
            raise _not_yours()
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
            async with asyncio.timeout(ANSWER_S):
                return await self._dismissible(peer, path.removeprefix(PATH), body)
        except TimeoutError as error:
            raise errors.Unavailable(
                "partner.answer.late", "It took too long.", remedy=errors.TRIED_AGAIN
            ) from error

    async def _dismissible(self, peer: Peer, operation: str, body: bytes) -> bytes:
        task = asyncio.create_task(self.answer(peer, operation, body))
        self._answering[task] = peer
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            del self._answering[task]
        if task.cancelled():
            raise errors.Unavailable("partner.away", "This site hung up.", remedy=errors.TRIED_AGAIN)
        return await task

    async def _caller(
        self, peer: Peer, operation: str, early: Callable[[str], bool]
    ) -> tuple[Partner, Operations]:
        """Return who asks, and the table in which what it may ask stands."""
        if peer.invitation:
            raise _not_yours()
        if not early(operation):
            return await self._book.partner(peer.partner), self._operations
        known = await self._book.known(peer.partner)
        if not is_known(known):
            require_trusted(known, 0.0)
        return known, self._early


def _called(peer: Peer) -> str:
    """Return a peer as the audit log names who acts."""
    return f"partner {peer.partner}" if peer.partner else f"invitation {peer.invitation}"


def _opening(line: bytes) -> tuple[str, bytes]:
    """Return the operation and the opening of a stream's first line."""
    operation, space, opening = line.partition(b" ")
    try:
        if not space:
            raise ValueError("one word")
        return operation.decode("ascii"), base64.b64decode(opening, validate=True)
    except ValueError as error:
        raise errors.Broken(
            "partner.line.malformed", "This opens no stream.", remedy=errors.SAME_RELEASE
        ) from error


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.Unavailable("partner.away", "The partner left.", remedy=errors.TRIED_AGAIN)
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise errors.Invalid(
                "partner.body.large",
                f"A request of a partner has {MAX_BODY} bytes at most.",
                remedy=errors.SAME_RELEASE,
            )
        if not message.get("more_body", False):
            return bytes(body)


def _not_yours() -> errors.NotFound:
    return errors.NotFound("partner.operation.unknown", "There is nothing here.", remedy=errors.SAME_RELEASE)
