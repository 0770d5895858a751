"""Lines over TLS: each with a mark in front that says whether it is a line, or how the conversation ended."""

import asyncio
import contextlib
import socket
import ssl

from cryptography import x509

from crossport import errors
from crossport.model import codec
from crossport.model.failure import Failure

__all__ = ["MAX_LINE", "TlsLines", "keep_alive"]

MAX_LINE = 512 << 10
PIECE = 64 << 10
_LINE, _FAILED, _OVER = b".", b"!", b"$"
_CLOSE_S = 2.0
SILENT_S = 300
"""How long the kernel waits for a sign of life of an end that owes one; one that reads slowly shows it."""


class TlsLines:
    """One end of a stream, as `crossport.spi.partner.Lines` promises. `partner` is named in errors."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, partner: str) -> None:
        self._reader = reader
        self._writer = writer
        self._partner = partner
        self._read = bytearray()
        self._over = False
        self._why: errors.Unavailable | None = None

    @property
    def connection(self) -> socket.socket:
        """The connection below, for asking the kernel about it."""
        return self._writer.get_extra_info("socket")

    @property
    def shown(self) -> x509.Certificate:
        """What the other end showed in the handshake."""
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")

    def cut(self, why: errors.Unavailable) -> None:
        """End the connection at once; whoever waits for a line, or sends one, is told why."""
        self._why = why
        self._writer.transport.abort()

    async def send(self, line: bytes) -> None:
        """Send a line."""
        if b"\n" in line or len(line) > MAX_LINE:
            raise errors.Broken(
                "partner.line.unfit", f"A line of {len(line)} bytes cannot be sent.", remedy=errors.REPORT
            )
        await self._write(_LINE + line)

    async def receive(self) -> bytes | None:
        """Return the next line."""
        if self._over:
            return None
        line = await self._next()
        if line[:1] == _LINE:
            return bytes(line[1:])
        if line[:1] == _FAILED:
            raise codec.decoded(bytes(line[1:]), Failure).error()
        if line[:1] != _OVER:
            raise errors.Broken(
                "partner.line.malformed",
                f"{self._partner} sent what is no line of a stream.",
                remedy=errors.SAME_RELEASE,
            )
        self._over = True
        return None

    async def end(self, how: errors.Error | None) -> None:
        """Tell the other end that this one is done: well, or with an error."""
        with contextlib.suppress(errors.Unavailable):  # it left before
            await self._write(_OVER if how is None else _FAILED + codec.encoded(Failure.of(how)).encode())

    async def close(self) -> None:
        """End the connection. May be called again."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            return  # it was cut, or the other end does not say goodbye
        finally:
            self._writer.transport.abort()

    async def _write(self, line: bytes) -> None:
        if self._writer.transport.is_closing():
            raise self._away(None)
        try:
            self._writer.write(line + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise self._away(error) from error

    async def _next(self) -> bytes:
        """Return what comes up to the next newline; what came behind it is kept."""
        searched, most = 0, MAX_LINE + 1
        while (end := self._read.find(b"\n", searched)) < 0 and len(self._read) <= most:
            searched = len(self._read)
            try:
                piece = await self._reader.read(PIECE)
            except OSError as error:
                raise self._away(error) from error
            if not piece:
                raise self._away(None)
            self._read += piece
        if end < 0 or end > most:
            raise errors.Broken(
                "partner.line.unfit",
                f"{self._partner} sent a line of over {MAX_LINE} bytes.",
                remedy=errors.SAME_RELEASE,
            )
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def _away(self, error: OSError | None) -> errors.Unavailable:
        if self._why is not None:
            return self._why
        said = error.strerror if error is not None and error.strerror else "it ended"
        return errors.Unavailable(
            "partner.away", f"The stream with {self._partner} is cut: {said}.", remedy=errors.TRIED_AGAIN
        )


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel notice within half a minute that the other end's machine is gone."""
    for level, option, value in KEPT_ALIVE:
        connection.setsockopt(level, option, value)


KEPT_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
)
"""Socket options: level, option, value."""
