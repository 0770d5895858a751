"""One end of a copy as a process of its own: ``python -m crossport.transfer.worker send|receive|digest``.

It reads who it is and then its job, one line each, from standard input, tells its progress as lines on
standard output, and ends when standard input ends: a worker never outlives the process that started it. As an
entry point it reads the clock itself. Imports are lean, because a person waits for each start.
"""

import json
import os
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from crossport import errors
from crossport.model.artifact import Way
from crossport.transfer import chunk, disk, noise, ticket
from crossport.transfer.channel import Channel
from crossport.transfer.job import Credential, DigestJob, End, Job, failure_line
from crossport.transfer.meter import Meter
from crossport.transfer.receiver import Receiver
from crossport.transfer.sender import Sender
from crossport.transfer.wrapper import Statistics

__all__ = ["main"]

REPORT_EVERY_S = 0.25
CONNECT_S = 20.0
HANDSHAKE_S = 5.0
_ORPHANED = 75


class _Voice:
    """Standard output, one JSON line at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, event: dict[str, Any]) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()


def main(way: str) -> int:
    """Do the job that comes on standard input."""
    voice = _Voice()
    own, line = Credential.of(sys.stdin.buffer.readline()), sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        voice.say({"event": "done", **_WAYS[way](line, own, voice)})
    except errors.Error as error:
        voice.say(failure_line(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost frame of the process: told, and on stderr in full
        traceback.print_exc()
        told = errors.Broken("transfer.worker.crashed", f"A worker failed ({type(error).__name__}: {error}).")
        voice.say(failure_line(told))
        return 1
    return 0


def _send(line: bytes, own: Credential, voice: _Voice) -> dict[str, Any]:
    job = Job.of(line)
    meter = _began(job, Way.READ, voice)
    reader = disk.open_reader(_openers(job.disk_timeout_s), job.ticket.ref)
    connection = _connected(job.end, own)
    began = time.monotonic()
    try:
        root = Sender(reader, Channel(connection, job.idle_s), job.hello, meter).run()
    finally:
        connection.close()
        reader.close()
    took_us = round((time.monotonic() - began) * 1e6)
    return {"root": root.hex(), "took_us": took_us, **meter.told()}


def _receive(line: bytes, own: Credential, voice: _Voice) -> dict[str, Any]:
    job = Job.of(line)
    meter = _began(job, Way.WRITE, voice)
    writer = disk.open_writer(_openers(job.disk_timeout_s), job.ticket.ref)
    connection = _accepted(job.end, own, voice)
    try:
        root = Receiver(writer, Channel(connection, job.idle_s), job.hello, meter).run()
    finally:
        connection.close()
        writer.close()
    return {"root": root.hex(), **meter.told()}


def _digest(line: bytes, own: Credential, voice: _Voice) -> dict[str, Any]:
    del own  # it has no peer
    job = DigestJob.of(line)
    reader = Statistics(disk.open_reader(_openers(job.disk_timeout_s), job.ref))
    _report(lambda: {"event": "progress", "bytes_read": reader.bytes_read}, voice)
    try:
        root = chunk.root_of(reader, chunk.Cut(job.ref.size, job.chunk_size))
    finally:
        reader.close()
    return {"root": root.hex(), "bytes_read": reader.bytes_read}


_WAYS: dict[str, Callable[[bytes, Credential, _Voice], dict[str, Any]]] = {
    "send": _send,
    "receive": _receive,
    "digest": _digest,
}


def _began(job: Job, way: Way, voice: _Voice) -> Meter:
    now = time.time()
    ticket.check(job.ticket, way, size=job.hello.size, now=now)
    # The bound is a duration, so that a jump of the wall clock neither ends a copy nor prolongs it.
    threading.Thread(target=_expire, args=(job.ticket.expires - now, voice), daemon=True).start()
    meter = Meter()
    _report(lambda: {"event": "progress", **meter.told()}, voice)
    return meter


def _openers(timeout_s: float) -> dict[str, disk.Opener]:
    return {
        "file": disk.FileOpener(),
        "nbd": disk.NbdOpener(timeout_s),
        noise.NOISE: noise.NoiseOpener(os.urandom, time.monotonic),
        noise.VOID: noise.VoidOpener(),
    }


def _report(event: Callable[[], dict[str, Any]], voice: _Voice) -> None:
    def forever() -> None:
        while True:
            voice.say(event())
            time.sleep(REPORT_EVERY_S)

    threading.Thread(target=forever, daemon=True).start()


def _expire(seconds: float, voice: _Voice) -> None:
    time.sleep(min(seconds, threading.TIMEOUT_MAX))
    voice.say(failure_line(errors.Refused("transfer.ticket.expired", "The ticket expired during the copy.")))
    os._exit(1)


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    os._exit(_ORPHANED)


def _connected(end: End, own: Credential) -> ssl.SSLSocket:
    try:
        plain = socket.create_connection((end.address, end.port), CONNECT_S)
    except OSError as error:
        raise errors.Unavailable(
            "transfer.peer.unreachable",
            f"The other end at {end.address} port {end.port} does not answer ({error.strerror or error}).",
            remedy="Check the network between the two gateways' subnets.",
        ) from error
    plain.settimeout(CONNECT_S)
    return _secured(plain, end, _context(ssl.PROTOCOL_TLS_CLIENT, end, own))


def _accepted(end: End, own: Credential, voice: _Voice) -> ssl.SSLSocket:
    """Listen, tell where, and return the first connection of the right peer; others are turned away."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, end, own)
    with socket.create_server((end.address, end.port), family=_family(end), backlog=8) as server:
        voice.say({"event": "listening", "port": server.getsockname()[1]})
        deadline = time.monotonic() + CONNECT_S
        refused: errors.Error | None = None
        while (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                plain, _ = server.accept()
            except TimeoutError:
                break
            plain.settimeout(HANDSHAKE_S)
            try:
                return _secured(plain, end, context)
            except errors.Error as error:
                refused = error
    raise refused or errors.Unavailable("transfer.peer.absent", f"Nobody connected within {CONNECT_S:.0f} s.")


def _family(end: End) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in end.address else socket.AF_INET


def _secured(plain: socket.socket, end: End, context: ssl.SSLContext) -> ssl.SSLSocket:
    serves = context.protocol is ssl.PROTOCOL_TLS_SERVER
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = context.wrap_socket(plain, server_side=serves)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise _untrusted(error.verify_message) from error
    except OSError as error:
        plain.close()
        raise errors.Unavailable(
            "transfer.link.handshake", f"No secure connection came about ({error.strerror or error})."
        ) from error
    if connection.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(end.peer):
        connection.close()
        raise _untrusted("it is not the one this copy was made for")
    return connection


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
        context.num_tickets = 0  # one connection per job: nothing to resume
    return context


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(status)  # threads that still wait for a disk or a peer have nothing left to do
