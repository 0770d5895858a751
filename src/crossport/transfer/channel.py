"""Frames over one connection, in both directions, from one thread.

OpenSSL's connections must not be used by two threads at once, so that reading and writing take turns on a
non-blocking socket: while a frame waits to be sent, what the peer says is taken in. A peer that neither
takes nor gives a byte for ``idle_s`` is given up.
"""

import select
import socket
import ssl
from collections import deque

from crossport import errors
from crossport.transfer import frame
from crossport.transfer.frame import Frame

__all__ = ["Channel"]

_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Only the sender's inbox fills while it sends, with words of a few bytes each.
_MAX_INBOX = 1024
# In TLS 1.3 a client learns only from an alert that its certificate was not accepted (RFC 8446, section 6.2).
_DISTRUST = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}


class Channel:
    """One connection. Not thread-safe, but for ``bytes_sent``, which others may read."""

    def __init__(self, connection: socket.socket, idle_s: float = 30.0) -> None:
        connection.setblocking(False)
        self.bytes_sent = 0
        self._connection = connection
        self._idle_s = idle_s
        self._header = bytearray(frame.HEADER.size)
        self._kind: frame.Kind | None = None
        self._part = self._header
        self._filled = 0
        self._inbox: deque[Frame] = deque()

    def send(self, encoded: bytes) -> None:
        """Hand one frame to the network; raise Unavailable when the peer takes nothing for too long."""
        rest = memoryview(encoded)
        while rest:
            try:
                sent = self._connection.send(rest)
            except _WAIT as wait:
                reads_only = isinstance(wait, ssl.SSLWantReadError)
                self._take_in()
                self._wait(writing=not reads_only)
            except OSError as error:
                # The peer's last word may still lie here, and says more than a broken pipe.
                self._take_in(until_end=True)
                raise _gone(error) from error
            else:
                self.bytes_sent += sent
                rest = rest[sent:]

    def poll(self) -> Frame | None:
        """Return the next frame if it is here."""
        return self._inbox.popleft() if self._inbox else self._next()

    def receive(self) -> Frame:
        """Return the next frame; raise Unavailable when the peer is silent."""
        while (came := self.poll()) is None:
            self._wait(writing=False)
        return came

    def listen(self, beat_s: float = 2.0) -> Frame:
        """Return the next frame as `receive` does, and meanwhile show the peer that this end is there."""
        quiet_s = 0.0
        while (came := self.poll()) is None:
            if select.select([self._connection], [], [], beat_s)[0]:
                quiet_s = 0.0
                continue
            quiet_s += beat_s
            if quiet_s >= self._idle_s:
                raise _silent(quiet_s)
            self.send(frame.alive())
        return came

    def last_words(self) -> frame.Failed | None:
        """Return why the peer says it stopped, if it said so in what has come so far."""
        self._take_in(until_end=True)
        failed = next((came for came in self._inbox if came.kind is frame.Kind.FAILED), None)
        return frame.Failed.decoded(failed) if failed else None

    def close(self) -> None:
        """Let go."""
        self._connection.close()

    def _take_in(self, *, until_end: bool = False) -> None:
        while len(self._inbox) < _MAX_INBOX:
            try:
                came = self._next()
            except errors.Unavailable:
                if until_end:
                    return
                raise
            if came is None:
                return
            self._inbox.append(came)
        raise frame.malformed("it talks without listening")

    def _next(self) -> Frame | None:
        """Read on; return the frame when it is complete, None when the network has no more now."""
        while True:
            if self._filled == len(self._part):
                if self._kind is not None:
                    return self._completed(self._kind)
                self._kind, size = frame.body_size(self._header)
                self._part, self._filled = bytearray(size), 0
                continue
            try:
                size = self._connection.recv_into(memoryview(self._part)[self._filled :])
            except _WAIT:
                return None
            except OSError as error:
                raise _gone(error) from error
            if not size:
                raise _gone(None)
            self._filled += size

    def _completed(self, kind: frame.Kind) -> Frame:
        came = Frame(kind, self._part)
        self._kind, self._part, self._filled = None, self._header, 0
        return came

    def _wait(self, *, writing: bool) -> None:
        ready = select.select([self._connection], [self._connection] if writing else [], [], self._idle_s)
        if not any(ready):
            raise _silent(self._idle_s)


def _silent(quiet_s: float) -> errors.Unavailable:
    return errors.Unavailable(
        "transfer.peer.silent", f"The other end neither took nor gave a byte for {quiet_s:.0f} s."
    )


def _gone(error: OSError | None) -> errors.Error:
    why = f" ({error.strerror or type(error).__name__})" if error else ""
    if isinstance(error, ssl.SSLError) and error.reason in _DISTRUST:
        return errors.Refused(
            "transfer.peer.certificate",
            f"The other end does not accept this end's certificate ({error.reason}).",
            remedy="Start the copy again; certificates live for a few hours. Check both machines' clocks.",
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return errors.Unavailable(
            "transfer.link.damaged",
            f"The encrypted connection broke ({error.reason or type(error).__name__}).",
            remedy="Something between the two ends changes or cuts the traffic.",
        )
    return errors.Unavailable("transfer.peer.gone", f"The other end closed the connection{why}.")
