"""Frames over one connection, in both directions.

One thread receives, any may send. OpenSSL's connections must not be used by two threads at once, so that
each call has a lock, on a non-blocking socket. While the receiving thread waits to send, what the peer says
is taken in, so that two ends that both send cannot wait for each other. A peer that neither takes nor gives a
byte for ``idle_s`` is given up.
"""

import select
import socket
import ssl
import sys
import threading
import time
from collections import deque

from crossport import errors
from crossport.transfer import frame
from crossport.transfer.frame import Frame, Kind
from crossport.transfer.meter import Meter

__all__ = ["BEAT_S", "Channel", "is_of_the_link"]

BEAT_S = 2.0
"""Each end says at least that often that it is there."""
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# What is taken in while this end waits to send; beyond it the peer waits, too.
_MAX_INBOX = 1 << 20
_STEP_S = 0.5
# struct tcp_info of linux/tcp.h, in microseconds: tcpi_min_rtt, tcpi_busy_time, tcpi_rwnd_limited.
_MIN_RTT, _BUSY, _HELD = slice(148, 152), slice(168, 176), slice(176, 184)
_TCP_INFO_SIZE = 192
_FAREWELL_S = 1.0
# In TLS 1.3 a client learns only from an alert that its certificate was not accepted (RFC 8446, section 6.2).
_DISTRUST = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}
_LINK = ("transfer.peer.gone", "transfer.peer.silent", "transfer.peer.absent", "transfer.peer.unreachable")


def is_of_the_link(error: errors.Error) -> bool:
    """Say whether connecting anew may help."""
    return error.code in _LINK or error.code.startswith("transfer.link.")


class Channel:
    """One connection. One thread calls `poll` and `receive`; the rest may be called by any."""

    def __init__(self, connection: socket.socket, idle_s: float = 10.0, meter: Meter | None = None) -> None:
        """Take over a connection; note in ``meter`` how long it is waited for."""
        connection.setblocking(False)
        self._connection = connection
        self._idle_s = idle_s
        self._meter = meter or Meter()
        self._sending = threading.Lock()
        self._using = threading.Lock()
        self._header = bytearray(frame.HEADER.size)
        self._kind: Kind | None = None
        self._part = self._header
        self._filled = 0
        self._inbox: deque[Frame] = deque()
        self._inbox_size = 0
        self._last_heard = self._last_sent = time.monotonic()

    def path(self) -> tuple[float, bool]:
        """Return the shortest round trip seen so far, and whether this connection goes by its rate (BBR).

        The round trip is 0 where the kernel does not tell.
        """
        try:
            told = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
            congestion = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        except OSError:
            return 0.0, False  # not TCP
        round_trip_us = int.from_bytes(told[_MIN_RTT], sys.byteorder)
        return round_trip_us / 1e6, congestion.startswith(b"bbr")

    def send(self, encoded: bytes, *, listening: bool = True) -> None:
        """Hand one frame to the network; raise Unavailable when the peer takes nothing for too long.

        A thread that does not receive says that it is not ``listening``.
        """
        with self._sending:
            rest = memoryview(encoded)
            while rest := rest[self._give(rest) :]:
                if listening:
                    self._take_in()
                self._wait_to_send(listening=listening)

    def beat(self) -> None:
        """Show the peer that this end is there, unless it just said something or is about to."""
        if time.monotonic() - self._last_sent >= BEAT_S and not self._sending.locked():
            self.send(frame.bare(Kind.ALIVE), listening=False)

    def poll(self) -> Frame | None:
        """Return the next frame if it is here."""
        if self._inbox:
            came = self._inbox.popleft()
            self._inbox_size -= len(came.body) + frame.HEADER.size
            return came
        return self._next()

    def receive(self) -> Frame:
        """Return the next frame; raise Unavailable when the peer is silent."""
        while (came := self.poll()) is None:
            with self._meter.waits("peer"):
                select.select([self._connection], [], [], _STEP_S)
            self._expect_sign(self._last_heard)
        return came

    def last_words(self) -> errors.Error | None:
        """Return why the peer stopped, if that has come already: its own words, or an alert of TLS."""
        try:
            while (came := self.poll()) is not None:
                if came.kind is Kind.FAILED:
                    return frame.Failed.decoded(came).error()
        except errors.Error as error:
            return None if is_of_the_link(error) else error
        return None

    def farewell(self, error: errors.Error) -> None:
        """Tell the peer why this end stops, and wait a moment for it to have heard. Raise nothing."""
        try:
            self.send(frame.Failed(error.code, error.text).encoded())
            socket.socket.shutdown(self._connection, socket.SHUT_WR)
            until = time.monotonic() + _FAREWELL_S
            # Closing while words lie here unread would reset the connection and may take ours with it.
            while (left := until - time.monotonic()) > 0:
                if self.poll() is None:
                    select.select([self._connection], [], [], left)
        except (errors.Error, OSError):
            return  # the peer is gone; the error itself is raised elsewhere

    def abort(self) -> None:
        """End the connection under whoever uses it: their calls raise Unavailable."""
        try:
            # Not SSLSocket's own: that would go on without encryption.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
        except OSError:
            return  # it is over already

    def close(self) -> None:
        """Let go, when no thread uses it any more."""
        self._connection.close()

    def _give(self, rest: memoryview) -> int:
        """Hand over what the network takes now: OpenSSL takes 16 KiB at a time. Return how much that was."""
        sent = 0
        try:
            with self._using:
                while sent < len(rest):
                    sent += self._connection.send(rest[sent:])
        except _WAIT:
            pass  # it takes no more now
        except OSError as error:
            raise _gone(error) from error
        if sent:
            self._last_sent = time.monotonic()
            self._meter.add(sent=sent)
        return sent

    def _take_in(self) -> None:
        while self._inbox_size < _MAX_INBOX and (came := self._next()) is not None:
            self._inbox.append(came)
            self._inbox_size += len(came.body) + frame.HEADER.size

    def _next(self) -> Frame | None:
        """Read on; return the frame when it is complete, None when the network has no more now."""
        while True:
            if self._filled == len(self._part):
                if self._kind is not None:
                    return self._completed(self._kind)
                self._kind, size = frame.body_size(self._header)
                self._part, self._filled = bytearray(size), 0
                continue
            if not self._fill():
                return None

    def _fill(self) -> bool:
        """Read what is missing of the part, 16 KiB at a time; return whether it is complete."""
        part, filled = memoryview(self._part), self._filled
        size, receive_into = len(part), self._connection.recv_into
        try:
            with self._using:
                while filled < size:
                    # Unless it is told the length, each call of ssl's makes another view to look.
                    came = receive_into(part[filled:], size - filled)
                    if not came:
                        raise _gone(None)
                    filled += came
        except _WAIT:
            return False
        except OSError as error:
            raise _gone(error) from error
        finally:
            if filled > self._filled:
                self._filled, self._last_heard = filled, time.monotonic()
        return True

    def _completed(self, kind: Kind) -> Frame:
        came = Frame(kind, self._part)
        self._kind, self._part, self._filled = None, self._header, 0
        return came

    def _wait_to_send(self, *, listening: bool) -> None:
        reads = [self._connection] if listening and self._inbox_size < _MAX_INBOX else []
        before, began = self._carried(), time.monotonic()
        with self._meter.waits("link"):
            select.select(reads, [self._connection], [], _STEP_S)
        self._blame(before, time.monotonic() - began)
        self._expect_sign(max(self._last_heard, self._last_sent))

    def _blame(self, before: tuple[float, float] | None, waited_s: float) -> None:
        """Take from a wait for the link what it was idle in: the peer took nothing, or this end slept on.

        A thread that got no processor when the network could take more has waited for that, not for the link.
        """
        after = self._carried()
        if before is not None and after is not None:
            busy_s, held_s = (now - then for now, then in zip(after, before, strict=True))
            self._meter.move("link", max(0.0, waited_s - busy_s))
            self._meter.move("link", min(held_s, waited_s), "peer")

    def _carried(self) -> tuple[float, float] | None:
        """Return for how long something was under way so far, and how long of it the peer took nothing."""
        try:
            told = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:
            return None  # not TCP
        busy_us, held_us = (int.from_bytes(told[part], sys.byteorder) for part in (_BUSY, _HELD))
        return busy_us / 1e6, held_us / 1e6

    def _expect_sign(self, last: float) -> None:
        quiet_s = time.monotonic() - last
        if quiet_s > self._idle_s:
            raise errors.Unavailable(
                "transfer.peer.silent",
                f"The other end neither took nor gave a byte for {quiet_s:.0f} s.",
                remedy=errors.TRIED_AGAIN,
            )


def _gone(error: OSError | None) -> errors.Error:
    why = f" ({error.strerror or type(error).__name__})" if error else ""
    if isinstance(error, ssl.SSLError) and error.reason in _DISTRUST:
        return errors.Refused(
            "transfer.peer.certificate",
            f"The other end does not accept this end's certificate ({error.reason}).",
            remedy="Start the copy again. If it persists, somebody else answers at the other end.",
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return errors.Unavailable(
            "transfer.link.damaged",
            f"The encrypted connection broke ({error.reason or type(error).__name__}).",
            remedy="Something between the two ends changes or cuts the traffic.",
        )
    return errors.Unavailable(
        "transfer.peer.gone", f"The other end closed the connection{why}.", remedy=errors.TRIED_AGAIN
    )
