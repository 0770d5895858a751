"""The simple mover: two confined worker processes, one at each end, joined by one TLS connection.

The bytes go from worker to worker; this process sees only counters. The receiving worker listens on the
address of its place, the sending one connects to it; each holds a certificate made for this copy alone and
accepts only the other's. A copy that was killed starts its disk anew.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from crossport import errors
from crossport.model.artifact import DiskRef, Moved, Place, Progress, Ticket
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret
from crossport.transfer import merkle
from crossport.transfer.confined import Worker, started
from crossport.transfer.frame import VERSION, Hello
from crossport.transfer.job import DigestJob, End, Job
from crossport.transfer.ticket import Grants

__all__ = ["Certificates", "Credential", "Settings", "SimpleMover"]

# After one end failed the other notices within a moment; what it says may be the cause.
_GRACE_S = 3.0
_CREDENTIAL_S = 600.0
# Said by an end that only suffers from what happened at the other.
_CONSEQUENCES = ("transfer.peer.failed", "transfer.peer.gone", "transfer.peer.absent", "transfer.link.")


class Credential(Protocol):
    """A short-lived certificate with its key; ``fingerprint`` is the hex SHA-256 of its DER form."""

    @property
    def certificate_pem(self) -> str: ...
    @property
    def key_pem(self) -> Secret: ...
    @property
    def fingerprint(self) -> str: ...


class Certificates(Protocol):
    """Whoever vouches for this site's processes: ``identity.SiteIdentity``."""

    @property
    def authority_pem(self) -> str:
        """The certificate both ends trust."""
        ...

    def issue(self, role: str, name: str, *, lifetime_s: float = 3600) -> Credential:
        """Return a new certificate with its key."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How copies are made. A disk's server or a peer that is silent for so many seconds is given up."""

    chunk_size: int = merkle.CHUNK
    disk_timeout_s: float = 60.0
    idle_s: float = 30.0


class SimpleMover:
    """Copies as `crossport.spi.mover.Mover` says."""

    def __init__(self, certificates: Certificates, clock: Clock, settings: Settings | None = None) -> None:
        self._certificates = certificates
        self._clock = clock
        self._settings = settings or Settings()
        self._grants = Grants()
        self._running: dict[tuple[str, str], asyncio.Task[Moved]] = {}

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy all that ``read`` gives to ``write``; durable and verified on return.

        Cancelling ends both workers before it returns. A copy of the same artifact that still runs, of a
        lower or the same epoch, is ended first and raises Refused (``transfer.ticket.superseded``).
        """
        self._grants.admit(read, write, now=self._clock.wall())
        key = (read.run, read.artifact)
        await self._end_former(key)
        self._grants.admit(read, write, now=self._clock.wall())
        task = self._running[key] = asyncio.ensure_future(self._copied(read, write, report))
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})
            if self._running.get(key) is task:
                del self._running[key]
        if task.cancelled():
            raise errors.Refused(
                "transfer.ticket.superseded", "The same copy was begun again, with this or a higher epoch."
            )
        return task.result()

    async def digest(self, ref: DiskRef, place: Place, chunk_size: int = merkle.CHUNK) -> str:
        """Read the first ``ref.size`` bytes at rest and return their Merkle root as hex.

        A worker at ``place`` reads them. Raise what reading raises, and Unavailable when the worker died.
        """
        async with started("digest", ref, place) as worker:
            await worker.give(DigestJob(ref, chunk_size, self._settings.disk_timeout_s).line())
            return _root(await worker.event("done"))

    async def _end_former(self, key: tuple[str, str]) -> None:
        former = self._running.get(key)
        if former is not None:
            former.cancel()
            await asyncio.wait({former})

    async def _copied(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        tally = _Tally(read.artifact, read.ref.size, self._clock, report)
        async with (
            started("receive", write.ref, write.place) as receiver,
            started("send", read.ref, read.place) as sender,
        ):
            await self._introduce(read, write, sender, receiver)
            sent, received = await _both(
                sender.event("done", tally.from_sender), receiver.event("done", tally.from_receiver)
            )
        tally.from_sender(sent)
        tally.from_receiver(received)
        if _root(sent) != _root(received):
            raise errors.Broken("transfer.root.differs", "The two ends disagree about what was copied.")
        return tally.moved(self._settings.chunk_size, _root(received))

    async def _introduce(self, read: Ticket, write: Ticket, sender: Worker, receiver: Worker) -> None:
        """Give each worker its job: the sender's names the port at which the receiver listens."""
        settings = self._settings
        hello = Hello(
            VERSION, read.tenant, read.run, read.artifact, read.epoch, read.ref.size, settings.chunk_size
        )
        to_send, to_receive = self._issued("send", read), self._issued("receive", write)
        end = self._end(to_receive, to_send, write.place.address, 0)
        await receiver.give(Job(write, hello, end, settings.disk_timeout_s, settings.idle_s).line())
        port = _number(await receiver.event("listening"), "port")
        end = self._end(to_send, to_receive, write.place.address, port)
        await sender.give(Job(read, hello, end, settings.disk_timeout_s, settings.idle_s).line())

    def _issued(self, way: str, ticket: Ticket) -> Credential:
        # Ids may hold what a certificate's name may not.
        subject = hashlib.sha256(f"{ticket.run}\0{ticket.artifact}".encode()).hexdigest()[:24]
        name = f"{way}-{subject}-{ticket.epoch}"
        return self._certificates.issue("worker", name, lifetime_s=_CREDENTIAL_S)

    def _end(self, own: Credential, peer: Credential, address: str, port: int) -> End:
        return End(
            certificate=own.certificate_pem,
            authority=self._certificates.authority_pem,
            peer_fingerprint=peer.fingerprint,
            address=address,
            port=port,
            key=own.key_pem.reveal(),
        )


class _Tally:
    """What both workers told so far, as one progress."""

    def __init__(self, artifact: str, size: int, clock: Clock, report: Callable[[Progress], None]) -> None:
        self._artifact = artifact
        self._size = size
        self._clock = clock
        self._report = report
        self._began = clock.monotonic()
        self._done = self._read = self._sent = self._written = 0

    def from_sender(self, said: dict[str, Any]) -> None:
        self._read, self._sent = _number(said, "bytes_read"), _number(said, "bytes_sent")
        self._report(self._progress())

    def from_receiver(self, said: dict[str, Any]) -> None:
        # What the receiver has verified and written counts, not what the sender believes.
        self._done = min(max(self._done, _number(said, "done")), self._size)
        self._written = _number(said, "bytes_written")
        self._report(self._progress())

    def moved(self, chunk_size: int, root: str) -> Moved:
        return Moved(
            artifact=self._artifact,
            size=self._size,
            chunk_size=chunk_size,
            root=root,
            bytes_read=self._read,
            bytes_sent=self._sent,
            bytes_written=self._written,
            seconds=self._clock.monotonic() - self._began,
        )

    def _progress(self) -> Progress:
        seconds = self._clock.monotonic() - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        return Progress(
            artifact=self._artifact,
            size=self._size,
            done=self._done,
            bytes_read=self._read,
            bytes_sent=self._sent,
            bytes_written=self._written,
            rate_bps=rate * 8,
            seconds_left=(self._size - self._done) / rate if rate else None,
        )


async def _both(sending: Any, receiving: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what both ends say last; when one fails, raise the cause rather than its consequence."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(receiving)]
    try:
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if waiting:
            late, _ = await asyncio.wait(waiting, timeout=_GRACE_S)
            done |= late
        failures = [error for task in tasks if task in done and (error := task.exception()) is not None]
        if failures:
            raise min(failures, key=_is_consequence)
        return tasks[0].result(), tasks[1].result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _is_consequence(failure: BaseException) -> bool:
    return isinstance(failure, errors.Error) and failure.code.startswith(_CONSEQUENCES)


def _number(said: dict[str, Any], name: str) -> int:
    number = said.get(name)
    if type(number) is not int or not 0 <= number < 1 << 63:
        raise errors.Broken("transfer.worker.malformed", f"A worker told no sound {name}.")
    return number


def _root(said: dict[str, Any]) -> str:
    root = said.get("root")
    if not isinstance(root, str) or len(root) != 64 or not set(root) <= set("0123456789abcdef"):
        raise errors.Broken("transfer.worker.malformed", "A worker told no sound root.")
    return root
