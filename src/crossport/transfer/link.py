"""The way from one worker to the other: one listens, the other dials, and each accepts only the other.

Which of them listens has nothing to do with who sends: whoever can be reached does.
"""

import os
import socket
import ssl
import time
from collections.abc import Callable

from crossport import errors
from crossport.transfer.channel import Channel
from crossport.transfer.job import CONNECT_S, Credential, End
from crossport.transfer.meter import Meter

__all__ = ["Dialled", "Listening"]

COME_S = CONNECT_S + 5.0
"""How long an end that listens waits: the other one gives up first and knows more."""
AGAIN_S = 3.0
HANDSHAKE_S = 5.0
_STEP_S = 0.25
_NOT_SENT_LOW_WATER = 25  # TCP_NOTSENT_LOWAT of linux/tcp.h
_NOT_SENT = 256 << 10


class Dialled:
    """A link that this end opens."""

    def __init__(
        self, end: End, own: Credential, meter: Meter, idle_s: float, connect_s: float = CONNECT_S
    ) -> None:
        self._end = end
        self._context = _context(ssl.PROTOCOL_TLS_CLIENT, end, own)
        self._meter = meter
        self._idle_s = idle_s
        self._timeout_s = connect_s

    def open(self, check: Callable[[], None]) -> Channel:
        """Dial; raise Unavailable when nobody answers, Refused when somebody else does."""
        check()
        end = self._end
        try:
            plain = socket.create_connection((end.address, end.port), self._timeout_s)
        except OSError as error:
            raise errors.Unavailable(
                "transfer.peer.unreachable",
                f"The other end at {end.address} port {end.port} does not answer"
                f" ({error.strerror or error}).",
                remedy="Check the network between the two gateways' subnets.",
            ) from error
        # A link that was there is tried often rather than long. But who answers may do so one by one.
        plain.settimeout(max(self._timeout_s, self._idle_s))
        connection = _secured(plain, end, self._context)
        self._timeout_s = AGAIN_S
        return Channel(connection, self._idle_s, self._meter)

    def close(self) -> None:
        """Nothing is held."""


class Listening:
    """A link that the other end opens; whoever else connects is turned away."""

    def __init__(self, end: End, own: Credential, meter: Meter, idle_s: float) -> None:
        """Listen on a port of the kernel's choice: ``port``."""
        self._end = end
        self._context = _context(ssl.PROTOCOL_TLS_SERVER, end, own)
        self._meter = meter
        self._idle_s = idle_s
        family = socket.AF_INET6 if ":" in end.address else socket.AF_INET
        try:
            self._server = socket.create_server((end.address, end.port), family=family, backlog=32)
        except OSError as error:
            raise errors.Unavailable(
                "transfer.place.address",
                f"Nobody can listen on {end.address} here ({error.strerror or error}).",
                remedy="The address must be one of this machine, in the network of its place.",
            ) from error
        self._server.settimeout(_STEP_S)
        self.port = int(self._server.getsockname()[1])

    def open(self, check: Callable[[], None]) -> Channel:
        """Wait for the other end; raise Unavailable when it does not come."""
        deadline = time.monotonic() + COME_S
        refused: errors.Error | None = None
        while time.monotonic() < deadline:
            check()
            try:
                plain, _ = self._server.accept()
            except TimeoutError:
                continue
            plain.settimeout(HANDSHAKE_S)
            try:
                return Channel(_secured(plain, self._end, self._context), self._idle_s, self._meter)
            except errors.Error as error:
                refused = error
        raise refused or errors.Unavailable(
            "transfer.peer.absent", f"Nobody connected within {COME_S:.0f} s.", remedy=errors.TRIED_AGAIN
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


def _secured(plain: socket.socket, end: End, context: ssl.SSLContext) -> ssl.SSLSocket:
    serves = context.protocol is ssl.PROTOCOL_TLS_SERVER
    try:
        _tune(plain)
        connection = context.wrap_socket(plain, server_side=serves)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise _untrusted(error.verify_message) from error
    except OSError as error:
        plain.close()
        raise errors.Unavailable(
            "transfer.link.handshake",
            f"No secure connection came about ({error.strerror or error}).",
            remedy=errors.TRIED_AGAIN,
        ) from error
    if connection.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(end.peer):
        connection.close()
        raise _untrusted("it is not the one this copy was made for")
    return connection


def _tune(plain: socket.socket) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What waits in the socket is bound to this connection, however slow it is: the others cannot take it.
    plain.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOW_WATER, _NOT_SENT)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    except OSError:
        return  # this machine has no such, or does not allow it: its own choice holds


def _untrusted(why: str) -> errors.Refused:
    return errors.Refused(
        "transfer.peer.certificate",
        f"The other end's certificate is not accepted: {why}.",
        remedy="Start the copy again. If it persists, somebody else answers in the other gateway's place.",
    )


def _context(protocol: int, end: End, own: Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the very certificate is pinned, which says more than a name
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself: the site told us of it
    context.load_verify_locations(cadata=end.peer)
    # OpenSSL wants a path; this file exists in memory only and ends with the process.
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, (own.certificate + own.key).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if protocol is ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # every connection shows its certificate: nothing to resume
    return context
