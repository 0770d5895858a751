"""Where gateways reach a node of their site: a socket in its state directory, and an address when asked.

Both speak TLS under the site's authority. Who has no certificate may join with a token, and nothing else.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from crossport import errors
from crossport.gateway import trust
from crossport.gateway.hub import Hub
from crossport.gateway.wire import MAX_LINE, PIECE, Line, agreed, text, word
from crossport.identity import tls
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret
from crossport.transfer.job import failure_line

__all__ = ["Doors", "Issuer", "listening"]

HELLO_S = 10.0
"""How long a stranger may take to say what it wants."""
STRANGERS = 256
"""Connections at most that have not yet proved who they are; the oldest goes when one more comes."""
STRANGER_LINE = 32 << 10
"""Bytes that somebody without a certificate may say."""
_BACKLOG = 128
_PAUSE_S = 0.5
_CERTIFICATE_S = 24 * 3600.0
_RENEW_S = 8 * 3600.0
_REQUEST_MAX = 1 << 14


class _Leaf(Protocol):
    @property
    def certificate_pem(self) -> str: ...
    @property
    def key_pem(self) -> Secret: ...


class Issuer(Protocol):
    """Who gives the listener its own certificates: ``identity.SiteIdentity``."""

    def issue(self, role: str, name: str, *, lifetime_s: float = 3600, hosts: Sequence[str] = ()) -> _Leaf:
        """Return a certificate with a new key."""
        ...


@dataclass(frozen=True, slots=True)
class Doors:
    """Where to listen. ``host`` is empty for the socket alone; ``told`` is what gateways are told to dial."""

    socket: Path
    host: str = ""
    port: int = 0
    told: tuple[str, ...] = ()


@asynccontextmanager
async def listening(hub: Hub, issuer: Issuer, doors: Doors, node: str, clock: Clock) -> AsyncGenerator[None]:
    """Listen until the block ends; then every gateway is told to come back later by the end of its line.

    Raise Unavailable (``gateway.listen.taken``) when the address cannot be listened on.
    """
    hub.node = node
    desk = _Door(hub)
    leaf = issuer.issue(trust.CONTROL, "gateways", lifetime_s=_CERTIFICATE_S)
    context = trust.site_context(hub.office.authority.authority_pem, leaf.certificate_pem, leaf.key_pem)
    async with AsyncExitStack() as open_:
        told = [f"unix:{doors.socket}"]
        listeners = [open_.enter_context(_private_socket(doors.socket))]
        if doors.host:
            listeners.append(open_.enter_context(_listener(doors.host, doors.port)))
            told += doors.told
        await hub.office.listening(node, tuple(told))
        open_.push_async_callback(desk.close)
        tasks = [
            asyncio.create_task(_renewed(context, issuer, clock)),
            asyncio.create_task(_noted(hub, node, tuple(told), clock)),
            *(asyncio.create_task(desk.accept(listener, context)) for listener in listeners),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Door:
    """Answers whoever connects."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], None] = {}
        self._log: Any = structlog.get_logger("crossport.gateway")

    async def accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Let in whoever connects, until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # most likely too many files are open; it passes
                self._log.warning("nobody let in", reason=error.strerror)
                await asyncio.sleep(_PAUSE_S)
                continue
            self._enter(connection, context)

    def _enter(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """Answer a connection. Of too many strangers the one that has been silent for longest leaves.

        So a flood of them shortens how long each may take, and keeps out nobody who says at once who he is.
        """
        task = asyncio.create_task(self._answer(connection, context))
        self._tasks.add(task)
        self._strangers[task] = None
        task.add_done_callback(self._left)
        task.add_done_callback(lambda _: connection.close())  # also of one that had to go before it began
        if len(self._strangers) > STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._strangers.pop(task, None)

    def _known(self) -> None:
        """Note that who is answered by this task has proved who it is."""
        task = asyncio.current_task()
        if task is not None:
            self._strangers.pop(task, None)

    async def _answer(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """Serve one connection to its end, or until `close`."""
        try:
            line = await _secured(connection, context)
        except OSError as error:
            self._log.info("no secure connection", reason=error.strerror or type(error).__name__)
            return
        await self._serve(line)

    async def _serve(self, line: Line) -> None:
        try:
            await self._answered(line)
        except errors.Unavailable as error:
            self._log.info("line ended", code=error.code, text=error.text)
        except errors.Error as error:
            self._log.warning("refused", code=error.code, text=error.text, peer=tls.peer_name(line.tls))
            with contextlib.suppress(errors.Unavailable):
                await line.send({"do": "refused", **failure_line(error)})
        finally:
            await line.close()

    async def close(self) -> None:
        """End all connections."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answered(self, line: Line) -> None:
        most = MAX_LINE if tls.peer_name(line.tls) else STRANGER_LINE
        try:
            async with asyncio.timeout(HELLO_S):
                first = await line.receive(most)
        except TimeoutError as error:
            raise errors.Unavailable(
                "gateway.line.silent", "A connection said nothing.", remedy=errors.TRIED_AGAIN
            ) from error
        match first.get("do"):
            case "join":
                await self._joined(line, first)
            case "hello":
                name = self._gateway(line)
                shown = tls.fingerprint((line.tls and line.tls.getpeercert(binary_form=True)) or b"")
                entry = await self._hub.office.admitted(name, shown)
                self._known()
                await self._hub.serve(line, first, entry, shown)
            case other:
                said = str(other)[:40]
                raise errors.Broken(
                    "gateway.message.malformed",
                    f"A connection began with {said!r}.",
                    remedy=errors.SAME_RELEASE,
                )

    async def _joined(self, line: Line, first: dict[str, Any]) -> None:
        version = agreed(first.get("versions"))
        name = word(first, "gateway", most=64)
        token, request = text(first, "token", most=256), text(first, "request", most=_REQUEST_MAX)
        signed = await self._hub.office.join(name, token, request, word(first, "release", most=64))
        self._log.info("gateway joined", gateway=name)
        nodes = await self._hub.office.nodes()
        await line.send(
            {"do": "joined", "version": version, "certificate": signed.certificate_pem, "nodes": nodes}
        )

    def _gateway(self, line: Line) -> str:
        """Return the id in the peer's certificate; raise Refused for anybody but a gateway of this site."""
        head = f"crossport://{self._hub.office.authority.site}/{trust.GATEWAY}/"
        name = tls.peer_name(line.tls)
        if not name.startswith(head):
            raise errors.Refused(
                "gateway.certificate.role",
                f"{name or 'Somebody without a certificate'} is no gateway of this site.",
                remedy="Join first, with what `crossport gateway enroll` writes.",
            )
        return name.removeprefix(head)


async def _secured(connection: socket.socket, context: ssl.SSLContext) -> Line:
    """Return the line over an accepted connection; raise OSError when no TLS comes about in time."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=PIECE, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=context, ssl_handshake_timeout=HELLO_S
    )
    return Line(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


@contextlib.contextmanager
def _private_socket(path: Path) -> Generator[socket.socket]:
    """Open a socket at ``path`` that only its owner may use. What lies there is of a dead server."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _listener(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise errors.Unavailable(
            "gateway.listen.taken",
            f"{host} port {port} cannot be listened on: {error.strerror or error}.",
            field="gateway_listen",
            remedy="Choose another port, or stop what listens there.",
        ) from error
    with listener:
        yield listener


async def _noted(hub: Hub, node: str, addresses: tuple[str, ...], clock: Clock) -> None:
    """Say again that this node is there."""
    while True:
        await clock.sleep(_RENEW_S)
        with contextlib.suppress(errors.Unavailable):  # the next time is soon enough
            await hub.office.listening(node, addresses)


async def _renewed(context: ssl.SSLContext, issuer: Issuer, clock: Clock) -> None:
    """Show a new certificate in time. Open connections keep theirs."""
    while True:
        await clock.sleep(_RENEW_S)
        leaf = issuer.issue(trust.CONTROL, "gateways", lifetime_s=_CERTIFICATE_S)
        tls.load(context, leaf.certificate_pem, leaf.key_pem)
