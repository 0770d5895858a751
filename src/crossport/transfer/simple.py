"""The simple mover: two confined worker processes, one at each end, joined by one TLS connection.

The bytes go from worker to worker; this process sees only counters. The receiving worker listens on the
address of its place, the sending one connects to it; each holds a key made for this copy alone where it runs
and accepts only the other. A copy that was killed starts its disk anew.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crossport import errors
from crossport.model.artifact import Counters, DiskRef, Moved, Place, Progress, Ticket
from crossport.spi.clock import Clock
from crossport.transfer import merkle
from crossport.transfer.host import WorkerHost
from crossport.transfer.job import DigestJob
from crossport.transfer.meter import counters_of, number
from crossport.transfer.pair import Settings, both, introduce, root
from crossport.transfer.ticket import Grants

__all__ = ["Settings", "SimpleMover"]


class SimpleMover:
    """Copies as `crossport.spi.mover.Mover` says, with the workers that ``host`` starts."""

    def __init__(self, host: WorkerHost, clock: Clock, settings: Settings | None = None) -> None:
        self._host = host
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
        async with self._host.started("digest", ref, place) as worker:
            await worker.give(DigestJob(ref, chunk_size, self._settings.disk_timeout_s).line())
            return root(await worker.event("done"))

    async def forget(self, run: str) -> None:
        """Drop what is kept of ``run``, its running copies first."""
        for key, task in list(self._running.items()):
            if key[0] == run:
                task.cancel()
                await asyncio.wait({task})

    async def _end_former(self, key: tuple[str, str]) -> None:
        former = self._running.get(key)
        if former is not None:
            former.cancel()
            await asyncio.wait({former})

    async def _copied(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        tally = _Tally(read.artifact, read.ref.size, self._clock, report)
        async with (
            self._host.started("receive", write.ref, write.place) as receiver,
            self._host.started("send", read.ref, read.place) as sender,
        ):
            await introduce(self._settings, (read, write), (sender, receiver))
            sent, received = await both(
                sender.event("done", tally.from_sender), receiver.event("done", tally.from_receiver)
            )
        tally.from_sender(sent)
        tally.from_receiver(received)
        if root(sent) != root(received):
            raise errors.Broken("transfer.root.differs", "The two ends disagree about what was copied.")
        return tally.moved(self._settings.chunk_size, root(received))


class _Tally:
    """What both workers told so far, as one progress."""

    def __init__(self, artifact: str, size: int, clock: Clock, report: Callable[[Progress], None]) -> None:
        self._artifact = artifact
        self._size = size
        self._clock = clock
        self._report = report
        self._began = clock.monotonic()
        self._done = 0
        self._sent = self._received = Counters()

    def from_sender(self, said: dict[str, Any]) -> None:
        self._sent = counters_of(said)
        self._report(self._progress())

    def from_receiver(self, said: dict[str, Any]) -> None:
        # What the receiver has verified and written counts, not what the sender believes.
        self._done = min(max(self._done, number(said, "done")), self._size)
        self._received = counters_of(said)
        self._report(self._progress())

    def moved(self, chunk_size: int, root: str) -> Moved:
        return Moved(
            artifact=self._artifact,
            size=self._size,
            chunk_size=chunk_size,
            root=root,
            counters=self._counters(),
            seconds=self._clock.monotonic() - self._began,
        )

    def _counters(self) -> Counters:
        """Each end tells what it knows best: what was read and sent, what was written and left out."""
        left_out = ("written", "zero", "present", "unchanged")
        received: Counters = self._received
        return replace(self._sent, **{name: getattr(received, name) for name in left_out})

    def _progress(self) -> Progress:
        seconds = self._clock.monotonic() - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        return Progress(
            artifact=self._artifact,
            size=self._size,
            done=self._done,
            counters=self._counters(),
            rate_bps=rate * 8,
            seconds_left=(self._size - self._done) / rate if rate else None,
        )
