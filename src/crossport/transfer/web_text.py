"""Fetch a small text from a web server: to the address that was judged, bounded in size and time."""

import asyncio
import base64
import http.client
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote_plus, urlencode

from crossport import errors
from crossport.spi.secret import Secret
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
        return await asyncio.to_thread(self._answered, "GET", (url, of), "", {})

    async def ask(self, url: str, form: Mapping[str, str], login: tuple[str, Secret], *, of: str) -> bytes:
        """Return what is answered to a form, in a thread of its own."""
        name, secret = login
        # Both are encoded as a form's values are, before they are joined (RFC 6749, section 2.3.1).
        both = f"{quote_plus(name)}:{quote_plus(secret.reveal())}".encode()
        headers = {
            "Authorization": f"Basic {base64.b64encode(both).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return await asyncio.to_thread(self._answered, "POST", (url, of), urlencode(form), headers)

    def _answered(self, method: str, where: tuple[str, str], body: str, more: Mapping[str, str]) -> bytes:
        url, of = where
        endpoint = self._egress.beside(of).endpoint(url)
        connection = connection_to(endpoint, None, self._timeout_s)
        try:
            headers = {"Accept": "application/json", **more}
            connection.request(method, endpoint.target, body=body or None, headers=headers)
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
