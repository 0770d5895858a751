"""A web server that takes a disk by one PUT with a chunked body (RFC 9112, section 7.1): a StreamWriter.

It is asked at the address that the egress guard judged, and no redirect is followed: the body has been sent
by then.
"""

import http.client
import ssl
import threading

from crossport import errors
from crossport.transfer.bounds import check_range, closed_disk
from crossport.transfer.egress import Endpoint, Guard
from crossport.transfer.http_connection import BUSY, away, busy, connection_to, cut

__all__ = ["HttpUpload"]

_TAKEN = {200, 201, 204}
_LAST_WORD_S = 2.0
_BROKEN = (OSError, http.client.HTTPException, AttributeError)  # the last one: closed meanwhile


class HttpUpload:
    """One PUT that has begun. Nothing is kept by the server unless it is finished."""

    def __init__(
        self, url: str, size: int, egress: Guard, trust: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        """Begin; raise what the guard raises, and Unavailable when nobody answers."""
        self.size = size
        self._written = 0
        self._writing = threading.Lock()
        self._closed = self._finished = False
        self._endpoint = egress.endpoint(url)
        self._connection = connection_to(self._endpoint, trust, timeout_s)
        try:
            self._connection.putrequest("PUT", self._endpoint.target, skip_accept_encoding=True)
            self._connection.putheader("Content-Type", "application/octet-stream")
            self._connection.putheader("Transfer-Encoding", "chunked")
            self._connection.endheaders()
            self._connection.auto_open = 0  # what follows belongs to this request, or nowhere
        except _BROKEN as error:
            self._connection.close()
            raise away(self._endpoint, error) from error

    def write(self, data: bytes | memoryview) -> None:
        """Send the next bytes. Raise Refused when the server declines meanwhile, Unavailable at a break."""
        with self._writing:
            check_range(self._written, len(data), self.size, closed=self._closed)
            if not data:
                return  # an empty chunk would end the body
            try:
                self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
            except _BROKEN as error:
                raise self._broken(error) from error
            self._written += len(data)

    def finish(self) -> None:
        """End the body, and return when the server says that it has it."""
        with self._writing:
            check_range(0, 0, self.size, closed=self._closed)
            if self._finished:
                return
            if self._written < self.size:
                raise errors.Invalid(
                    "transfer.stream.unfinished",
                    f"{self._written} bytes of {self.size} were written.",
                    remedy=errors.REPORT,
                )
            try:
                self._connection.send(b"0\r\n\r\n")
                answer = self._connection.getresponse()
            except _BROKEN as error:
                raise self._broken(error) from error
            if answer.status not in _TAKEN:
                raise _declined(self._endpoint, answer)
            self._finished = True

    def close(self) -> None:
        """Let go, and end a call in another thread with Unavailable. May be called twice."""
        self._closed = True
        if self._connection.sock is not None:
            cut(self._connection.sock)
        self._connection.close()

    def _broken(self, error: Exception) -> errors.Error:
        """Return what a break means: servers that decline hang up before they have read everything."""
        if self._closed:
            return closed_disk()
        try:
            if self._connection.sock is not None:
                self._connection.sock.settimeout(_LAST_WORD_S)
            answer = self._connection.getresponse()
        except (*_BROKEN, ValueError):
            return away(self._endpoint, error)
        return _declined(self._endpoint, answer)


def _declined(endpoint: Endpoint, answer: http.client.HTTPResponse) -> errors.Error:
    if answer.status in BUSY:
        return busy(endpoint, answer)
    return errors.Refused(
        "transfer.http.declined",
        f"{endpoint.host} does not take the disk: {answer.status} {answer.reason[:80]}.",
        field="url",
        remedy="Give an address that may be written to, of an object that is not there yet.",
    )
