"""One other site as this one reaches it: requests over kept connections, and streams of lines."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from crossport import errors
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.partner.badge import Shown
from crossport.partner.handshake import CONTROL, HTTP, LINES, causes, checked_context, is_issued_by, name_in
from crossport.partner.lines import KEPT_ALIVE, PIECE, TlsLines, keep_alive
from crossport.partner.reception import ANSWER_S, PATH

__all__ = ["Dial"]

CONNECT_S = 10.0
MAX_ANSWER = 16 << 20
_KEPT_S = 30.0
"""How long a connection is kept that nobody uses: less than the other end keeps it."""


class Dial:
    """The way to ``site`` at ``address``; one of ``authorities`` has to vouch for who answers there."""

    def __init__(self, site: str, address: str, authorities: Sequence[str], shown: Shown) -> None:
        self.made_of = (address, tuple(authorities), shown.certificate)
        self._site = site
        self._address = address
        self._shown = shown
        self._authorities = tuple(authorities)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=self._context(HTTP),
                socket_options=KEPT_ALIVE,
                limits=httpx.Limits(max_connections=32, keepalive_expiry=_KEPT_S),
            ),
            timeout=httpx.Timeout(ANSWER_S + 30, connect=CONNECT_S),
            trust_env=False,
        )
        self._busy = 0
        self._retired = False

    async def post(self, operation: str, body: bytes) -> bytes:
        """Return the answer to a request."""
        self._busy += 1
        try:
            return await self._posted(operation, body)
        finally:
            self._busy -= 1
            if self._retired and not self._busy:
                await self._client.aclose()

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self._busy)

    async def retire(self) -> None:
        """Close it once what is under way has ended."""
        self._retired = True
        if not self._busy:
            await self._client.aclose()

    async def close(self) -> None:
        """Close it, whatever is under way."""
        await self._client.aclose()

    async def _posted(self, operation: str, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        try:
            async with self._client.stream(
                "POST", f"{self._address}{PATH}{operation}", content=body, headers=headers
            ) as response:
                answer = bytearray()
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise self._strange(f"an answer of over {MAX_ANSWER} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ssl.SSLError) as error:
            raise self._failed(error) from error
        if response.is_success:
            return bytes(answer)
        try:
            failure = codec.decoded(bytes(answer), Failure)
        except errors.Invalid as error:
            raise self._strange(f"status {response.status_code} and no reason") from error
        raise failure.error()

    @asynccontextmanager
    async def lines(self, operation: str, opening: bytes) -> AsyncGenerator[TlsLines]:
        """Give a stream that the other end has accepted, on a connection of its own."""
        lines = await self._connected()
        try:
            await lines.send(operation.encode() + b" " + base64.b64encode(opening))
            await self._accepted(lines)
            yield lines
        finally:
            await lines.close()

    async def _connected(self) -> TlsLines:
        parts = urlsplit(self._address)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(
                    parts.hostname, parts.port or 443, ssl=self._context(LINES), limit=PIECE
                )
        except OSError as error:
            raise self._failed(error) from error
        with contextlib.suppress(OSError):  # it ended; whoever sends first is told
            keep_alive(writer.get_extra_info("socket"))
        return TlsLines(reader, writer, self._site)

    async def _accepted(self, lines: TlsLines) -> None:
        """Wait for the other end's word; in TLS 1.3 a refusal of the certificate comes only here."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await lines.receive()
        except TimeoutError as error:
            raise self._failed(error) from error
        except errors.Unavailable as error:
            raise self._failed(error) from error

    def _context(self, speaks: str) -> ssl.SSLContext:
        own = (self._shown.certificate, self._shown.key)
        return checked_context(ssl.PROTOCOL_TLS_CLIENT, self._authorities, own, self._is_site, (speaks,))

    def _is_site(self, certificate: x509.Certificate) -> bool:
        site, role, _ = name_in(certificate)
        return (site, role) == (self._site, CONTROL) and is_issued_by(certificate, self._authorities)

    def _failed(self, error: BaseException) -> errors.Error:
        """Return what a failure of the connection means."""
        for cause in causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return errors.Refused(
                    "partner.identity.foreign",
                    f"Who answers at {self._address} is not site {self._site}.",
                    field="partner",
                    remedy="Somebody else may answer there. Ask the partner's operator whether its authority "
                    "changed, and look at the network between.",
                )
            if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
                return errors.Refused(
                    "partner.certificate.refused",
                    f"{self._site} does not accept this site's certificate ({cause.reason}).",
                    field="partner",
                    remedy="It may have revoked this site. Ask its operator.",
                )
        said = next((str(cause) for cause in causes(error) if str(cause)), type(error).__name__)
        return errors.Unavailable(
            "partner.away",
            f"{self._site} does not answer at {self._address}: {said}.",
            field="partner",
            remedy=errors.TRIED_AGAIN,
        )

    def _strange(self, what: str) -> errors.Broken:
        return errors.Broken(
            "partner.answer.malformed", f"{self._site} answered with {what}.", remedy=errors.SAME_RELEASE
        )
