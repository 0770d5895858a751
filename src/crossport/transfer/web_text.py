"""Fetch a small text from a web server: to the address that was judged, bounded in size and time."""

import asyncio
import http.client
import time
from http import HTTPStatus

from crossport import errors
from crossport.transfer.egress import Egress, Endpoint
from crossport.transfer.http_connection import away, connection_to

__all__ = ["WebTexts"]

TIMEOUT_S = 10.0
SIZE_MAX = 256 * 1024
_PART = 16 * 1024


class WebTexts:
    """A `crossport.spi.web.Web`. ``egress`` says what may be fetched beside what a caller names."""

    def __init__(self, egress: Egress, *, timeout_s: float = TIMEOUT_S) -> None:
        self._egress = egress
        self._timeout_s = timeout_s

    async def fetch(self, url: str, *, of: str) -> bytes:
        """Return what is at ``url``, in a thread of its own."""
        return await asyncio.to_thread(self._fetched, url, of)

    def _fetched(self, url: str, of: str) -> bytes:
        endpoint = self._egress.beside(of).endpoint(url)
        connection = connection_to(endpoint, None, self._timeout_s)
        try:
            connection.request("GET", endpoint.target, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise _odd(endpoint, f"answered {answer.status} {answer.reason[:80]}")
            return _read(endpoint, answer, time.monotonic() + self._timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise away(endpoint, error) from error
        finally:
            connection.close()


def _read(endpoint: Endpoint, answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """Return the body; a server that sends it drop by drop is given up like one that is silent."""
    content = b""
    while part := answer.read1(_PART):
        content += part
        if len(content) > SIZE_MAX:
            raise _odd(endpoint, f"sends more than {SIZE_MAX} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return content


def _odd(endpoint: Endpoint, what: str) -> errors.Refused:
    return errors.Refused(
        "egress.answer.odd",
        f"{endpoint.url[:200]} {what}.",
        field="url",
        remedy="Correct the address, or what the server has there.",
    )
