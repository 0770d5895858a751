"""Connections to web servers: to the address that was judged, and what their failures mean."""

import http.client
import socket
import ssl
from functools import cache
from pathlib import Path

from crossport import errors
from crossport.transfer.egress import Endpoint

__all__ = ["BUNDLES", "BUSY", "away", "busy", "connection_to", "cut", "denied"]

BUNDLES = tuple(
    Path(path) for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
)
"""Where systems keep the certificates that they trust, in one file."""

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others a moment later."""


def connection_to(
    endpoint: Endpoint, trust: ssl.SSLContext | None, timeout_s: float
) -> http.client.HTTPConnection:
    """Return a connection, made at its first request. Without ``trust`` it trusts what the machine does."""
    if endpoint.scheme == "https":
        return _SecureConnection(endpoint, trust, timeout_s)
    return _PlainConnection(endpoint, timeout_s)


def cut(connection: socket.socket) -> None:
    """End what another thread waits for at a connection."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was not connected any more


def away(endpoint: Endpoint, error: Exception) -> errors.Error:
    """Return the error of a server that is away, or is not who it should be."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return errors.Refused(
            "transfer.http.certificate",
            f"The certificate of {endpoint.host} is not accepted: {error.verify_message}.",
            remedy="Let the server show a certificate of a CA that this machine trusts.",
        )
    what = getattr(error, "strerror", None) or type(error).__name__
    return errors.Unavailable(
        "transfer.http.away", f"{endpoint.host} does not answer properly ({what}).", remedy=errors.TRIED_AGAIN
    )


def denied(endpoint: Endpoint, answer: http.client.HTTPResponse) -> errors.Error:
    """Return the error of an answer that will be the same the next time."""
    text = f"{endpoint.host} answered {answer.status} {answer.reason[:80]}."
    if answer.status in {404, 410}:
        return errors.NotFound("transfer.http.missing", text, field="url", remedy="Correct the address.")
    return errors.Refused(
        "transfer.http.denied",
        text,
        field="url",
        remedy="Give an address, or a key in it, that may be read.",
    )


def busy(endpoint: Endpoint, answer: http.client.HTTPResponse) -> errors.Unavailable:
    """Return the error of an answer that is one of ``BUSY``."""
    return errors.Unavailable(
        "transfer.http.busy",
        f"{endpoint.host} answered {answer.status} {answer.reason[:80]}.",
        remedy=errors.TRIED_AGAIN,
    )


class _PlainConnection(http.client.HTTPConnection):
    """Connects to the address that was judged, whatever the name says by now."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=timeout_s)
        self._endpoint = endpoint

    def connect(self) -> None:
        self.sock = socket.create_connection((self._endpoint.address, self._endpoint.port), self.timeout)


class _SecureConnection(_PlainConnection):
    """The same over TLS; the certificate must be the name's."""

    def __init__(self, endpoint: Endpoint, trust: ssl.SSLContext | None, timeout_s: float) -> None:
        super().__init__(endpoint, timeout_s)
        self._trust = trust or _trusting(endpoint.authorities)

    def connect(self) -> None:
        super().connect()
        self.sock = self._trust.wrap_socket(self.sock, server_hostname=self._endpoint.host)


@cache
def _trusting(authorities: str) -> ssl.SSLContext:
    """Return what trusts the machine's authorities, wherever this OpenSSL looks for them, and these."""
    context = ssl.create_default_context()
    for bundle in BUNDLES:
        if bundle.exists():
            context.load_verify_locations(bundle)
    if authorities:
        context.load_verify_locations(cadata=authorities)
    return context
