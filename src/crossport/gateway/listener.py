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
from crossport.gateway.wire import MAX_LINE, Line, agreed, text
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret
from crossport.transfer.job import failure_line

__all__ = ["Doors", "Issuer", "listening"]

HELLO_S = 10.0
"""How long a stranger may take to say what it wants."""
STRANGERS = 64
"""Connections at most that have not yet proved who they are."""
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
        await open_.enter_async_context(_served_socket(desk, context, doors.socket))
        if doors.host:
            await open_.enter_async_context(_served_address(desk, context, doors))
            told += doors.told
        await hub.office.listening(node, tuple(told))
        open_.push_async_callback(desk.close)
        renewing = asyncio.create_task(_renewed(context, issuer, clock))
        noting = asyncio.create_task(_noted(hub, node, tuple(told), clock))
        try:
            yield
        finally:
            for task in (renewing, noting):
                task.cancel()
            await asyncio.gather(renewing, noting, return_exceptions=True)


class _Door:
    """Answers whoever connects."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._log: Any = structlog.get_logger("crossport.gateway")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end, or until `close`."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # asyncio's streams would tell of a connection that was cancelled as of an accident.
        with contextlib.suppress(asyncio.CancelledError):
            await self._serve(Line(reader, writer))

    async def _serve(self, line: Line) -> None:
        try:
            await self._answered(line)
        except errors.Unavailable as error:
            self._log.info("line ended", code=error.code, text=error.text)
        except errors.Error as error:
            self._log.warning("refused", code=error.code, text=error.text, peer=trust.peer_name(line.tls))
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
        async with self._strangers:
            try:
                async with asyncio.timeout(HELLO_S):
                    first = await line.receive()
            except TimeoutError as error:
                raise errors.Unavailable("gateway.line.silent", "A connection said nothing.") from error
        match first.get("do"):
            case "join":
                await self._joined(line, first)
            case "hello":
                name = self._gateway(line)
                shown = trust.fingerprint((line.tls and line.tls.getpeercert(binary_form=True)) or b"")
                entry = await self._hub.office.admitted(name, shown)
                await self._hub.serve(line, first, entry, shown)
            case other:
                said = str(other)[:40]
                raise errors.Broken("gateway.message.malformed", f"A connection began with {said!r}.")

    async def _joined(self, line: Line, first: dict[str, Any]) -> None:
        version = agreed(first.get("versions"))
        name = text(first, "gateway", most=64)
        token, request = text(first, "token", most=256), text(first, "request", most=_REQUEST_MAX)
        signed = await self._hub.office.join(name, token, request, text(first, "release", most=64))
        self._log.info("gateway joined", gateway=name)
        nodes = await self._hub.office.nodes()
        await line.send(
            {"do": "joined", "version": version, "certificate": signed.certificate_pem, "nodes": nodes}
        )

    def _gateway(self, line: Line) -> str:
        """Return the id in the peer's certificate; raise Refused for anybody but a gateway of this site."""
        head = f"crossport://{self._hub.office.authority.site}/{trust.GATEWAY}/"
        name = trust.peer_name(line.tls)
        if not name.startswith(head):
            raise errors.Refused(
                "gateway.certificate.role",
                f"{name or 'Somebody without a certificate'} is no gateway of this site.",
                remedy="Join first, with what `crossport gateway enroll` writes.",
            )
        return name.removeprefix(head)


@asynccontextmanager
async def _served_socket(door: _Door, context: ssl.SSLContext, path: Path) -> AsyncGenerator[None]:
    with _private_socket(path) as listener:
        server = await asyncio.start_unix_server(
            door.answer, sock=listener, ssl=context, limit=MAX_LINE, ssl_handshake_timeout=HELLO_S
        )
        async with _closing(server):
            yield


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
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def _served_address(door: _Door, context: ssl.SSLContext, doors: Doors) -> AsyncGenerator[None]:
    try:
        server = await asyncio.start_server(
            door.answer, doors.host, doors.port, ssl=context, limit=MAX_LINE, ssl_handshake_timeout=HELLO_S
        )
    except OSError as error:
        raise errors.Unavailable(
            "gateway.listen.taken",
            f"{doors.host} port {doors.port} cannot be listened on: {error.strerror or error}.",
            field="gateway_listen",
            remedy="Choose another port, or stop what listens there.",
        ) from error
    async with _closing(server):
        yield


@asynccontextmanager
async def _closing(server: asyncio.Server) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        server.close()


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
        trust.load(context, leaf.certificate_pem, leaf.key_pem)
