"""Where partners reach this site: one port, mutual TLS 1.3, requests over HTTP and streams of lines.

Who is no partner does not get past the handshake. Of those that are in it the oldest leaves when there are
too many, so that a flood of strangers keeps out nobody who says at once who it is.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import structlog
import uvicorn
from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from crossport import errors
from crossport.identity.partners import is_known
from crossport.model.partner import Partner
from crossport.partner.badge import Badge
from crossport.partner.handshake import (
    CONTROL,
    HTTP,
    INVITED,
    LINES,
    checked_context,
    is_issued_by,
    last_words,
    name_in,
    outlived,
)
from crossport.partner.lines import PIECE, TlsLines, keep_alive
from crossport.partner.reception import Peer, Reception

__all__ = ["Listener", "listener_on"]

HANDSHAKE_S = 10.0
HEARD_OUT_S = 2.0
"""How long a stranger is heard out who was refused."""
STRANGERS = 256
"""Connections at most that are still in the handshake."""
EACH = 64
"""Connections at most of one partner, or of one invitation."""
IDLE_S = 75
HEADERS = 16 << 10
_BACKLOG = 128
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class _View:
    """Who may connect now: partners by name, and what is shown to them."""

    partners: dict[str, Partner]
    authorities: tuple[str, ...]
    certificate: str
    context: ssl.SSLContext


class Listener:
    """Lets partners in. `admit` says who they are; before that the site is away for everybody."""

    def __init__(self, badge: Badge, reception: Reception) -> None:
        self._badge = badge
        self._reception = reception
        self._config = uvicorn.Config(
            reception.asgi,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_S,
            h11_max_incomplete_event_size=HEADERS,
        )
        self._config.load()
        self._state = ServerState()
        self._open: dict[asyncio.BaseTransport, tuple[Peer, x509.Certificate]] = {}
        self._entering: dict[asyncio.Task[bool], None] = {}
        self._talks: dict[asyncio.Task[None], tuple[Peer, asyncio.BaseTransport]] = {}
        self._why: dict[asyncio.Task[None], errors.Error] = {}
        self._log: Any = structlog.get_logger("crossport.partner")
        self._view: _View = self._seen((), None)
        self._knows = False

    def admit(self, partners: Iterable[Partner], now: float = 0.0) -> None:
        """Let these partners in and nobody else; connections of others end now.

        So do those of which ``now`` (Unix seconds) is behind the end of the certificate that was shown; only
        not of who holds an invitation: the one operation that is open to him says when it has expired.
        """
        self._knows = True
        before = self._view.authorities
        self._view = self._seen(tuple(one for one in partners if is_known(one)), self._view)
        if self._view.authorities != before:
            for transport, (peer, certificate) in tuple(self._open.items()):
                if self._peer(certificate) != peer:
                    self._end(transport, peer)
        for transport, (peer, certificate) in tuple(self._open.items()):
            if not peer.invitation and (why := outlived(peer.partner, certificate, now)):
                self._expire(transport, why)

    def shut(self) -> None:
        """Let nobody in until `admit` says again who they are; connections end now.

        Who comes meanwhile finds this site away: it is not known whether he is to be refused.
        """
        self.admit(())
        self._knows = False

    def _expire(self, transport: asyncio.BaseTransport, why: errors.Unavailable) -> None:
        """End a connection that is too old; who holds a conversation on it is told why."""
        talk = next((talk for talk, (_, own) in self._talks.items() if own is transport), None)
        if talk is None:
            cast("asyncio.Transport", transport).abort()
        else:
            self._why[talk] = why
            talk.cancel()

    def _end(self, transport: asyncio.BaseTransport, peer: Peer) -> None:
        """End a connection, and what is done for its peer."""
        cast("asyncio.Transport", transport).abort()
        self._reception.dismiss(peer)
        for talk, (one, _) in tuple(self._talks.items()):
            if one == peer:
                talk.cancel()

    async def accept(self, listener: socket.socket) -> None:
        """Let in whoever connects, until cancelled; then all connections end."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:  # most likely too many files are open; it passes
                    self._log.warning("no partner let in", reason=error.strerror)
                    await asyncio.sleep(_PAUSE_S)
                    continue
                self._enter(connection)
        finally:
            await self._close()

    def _enter(self, connection: socket.socket) -> None:
        task = asyncio.create_task(self._secured(connection))
        self._entering[task] = None
        task.add_done_callback(lambda done: self._entering.pop(done, None))
        # Also of one that had to go before it began.
        task.add_done_callback(lambda done: None if _came_in(done) else connection.close())
        if len(self._entering) > STRANGERS:
            next(iter(self._entering)).cancel()

    async def _secured(self, connection: socket.socket) -> bool:
        """Do the handshake, and say whether it was done; the protocol that comes of it does the rest."""
        if not self._knows:
            return False
        loop = asyncio.get_running_loop()
        with connection.dup() as twin:  # the connection itself is closed by whoever finds it bad
            try:
                keep_alive(connection)
                await loop.connect_accepted_socket(
                    lambda: _Entrance(self._entered),
                    connection,
                    ssl=self._view.context,
                    ssl_handshake_timeout=HANDSHAKE_S,
                )
            except OSError as error:
                said = getattr(error, "reason", "") or error.strerror or str(error) or type(error).__name__
                self._log.info("no partner", reason=said)
                await _said(twin, last_words(error))
                return False
        return True

    def _entered(self, transport: asyncio.Transport) -> None:
        """Give a connection whose peer is known to the protocol that it asked for."""
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
        peer = self._peer(shown)
        if peer is None or sum(one == peer for one, _ in self._open.values()) >= EACH:
            transport.abort()
            return
        self._open[transport] = (peer, shown)
        inner = self._lines(peer) if tls.selected_alpn_protocol() == LINES else self._http(peer)
        transport.set_protocol(inner)
        inner.connection_made(transport)

    def _http(self, peer: Peer) -> "_Http":
        said = {"peer": peer, "partner": peer.partner}
        return _Http(self._config, self._state, said, self._left)

    def _lines(self, peer: Peer) -> asyncio.StreamReaderProtocol:
        def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._talk(peer, reader, writer))
            self._talks[task] = (peer, writer.transport)
            task.add_done_callback(lambda done: self._talks.pop(done, None))

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=PIECE), begun)

    def _left(self, transport: asyncio.BaseTransport) -> None:
        self._open.pop(transport, None)

    async def _talk(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = TlsLines(reader, writer, peer.partner)
        how: errors.Error | None = errors.Broken(
            "partner.stream.failed", "This site failed at it.", remedy=errors.REPORT
        )
        try:
            await self._reception.converse(peer, lines)
            how = None
        except errors.Error as error:
            how = error
        except asyncio.CancelledError:
            how = self._why.pop(cast("asyncio.Task[None]", asyncio.current_task()), how)
            raise
        finally:
            self._left(writer.transport)
            try:
                await lines.end(how)
            finally:
                await lines.close()

    def _seen(self, partners: tuple[Partner, ...], before: "_View | None") -> _View:
        """Return what holds with these partners; the context is a new one only if something changed."""
        shown = self._badge.shown()
        own = self._badge.issuer.authority_pem
        authorities = (own, *(pem for one in partners for pem in one.authorities))
        known = {one.name: one for one in partners}
        if before is not None and (before.authorities, before.certificate) == (
            authorities,
            shown.certificate,
        ):
            return replace(before, partners=known)
        context = checked_context(
            ssl.PROTOCOL_TLS_SERVER,
            authorities,
            (shown.certificate, shown.key),
            lambda certificate: self._peer(certificate) is not None,
            (LINES, HTTP),
        )
        return _View(known, authorities, shown.certificate, context)

    def _peer(self, certificate: x509.Certificate) -> Peer | None:
        """Return who shows this certificate, None for somebody who is nobody here."""
        site, role, name = name_in(certificate)
        if role == INVITED and site == self._badge.site:
            ours = is_issued_by(certificate, (self._badge.issuer.authority_pem,))
            return Peer(invitation=name) if ours else None
        partner = self._view.partners.get(site)
        if role != CONTROL or partner is None or not is_issued_by(certificate, partner.authorities):
            return None
        return Peer(partner=site)

    async def _close(self) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._entering, *self._talks]
        for task in tasks:
            task.cancel()
        for transport, (peer, _) in tuple(self._open.items()):
            self._end(transport, peer)
        await asyncio.gather(*tasks, *self._state.tasks, return_exceptions=True)


async def _said(connection: socket.socket, words: bytes) -> None:
    """Say why a handshake failed, and hear the other end out, which may have sent its request already.

    If that lay unread when the connection is closed, the kernel would break it off, and the words be lost.
    """
    if not words:
        return
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    with contextlib.suppress(OSError, TimeoutError):  # it left before, and does not want to know
        async with asyncio.timeout(HEARD_OUT_S):
            await loop.sock_sendall(connection, words)
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, PIECE):
                pass


def _came_in(handshake: asyncio.Task[bool]) -> bool:
    return not handshake.cancelled() and handshake.exception() is None and handshake.result()


class _Entrance(asyncio.Protocol):
    """Stands there for a moment: the handshake is done, and nothing was read."""

    def __init__(self, entered: Callable[[asyncio.Transport], None]) -> None:
        self._entered = entered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._entered(cast("asyncio.Transport", transport))


class _Http(H11Protocol):
    """HTTP of one peer; requests find it in ``scope["state"]``."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        said: dict[str, Any],
        left: Callable[[asyncio.BaseTransport], None],
    ) -> None:
        super().__init__(config, state, said)
        self._left = left

    def connection_lost(self, exc: Exception | None) -> None:
        self._left(self.transport)
        super().connection_lost(exc)


@contextlib.contextmanager
def listener_on(host: str, port: int) -> Generator[socket.socket]:
    """Listen on an address; raise Unavailable (``partner.listen.taken``)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise errors.Unavailable(
            "partner.listen.taken",
            f"{host} port {port} cannot be listened on: {error.strerror or error}.",
            field="partner_listen",
            remedy="Choose another port, or stop what listens there.",
        ) from error
    with listener:
        yield listener
