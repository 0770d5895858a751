"""The simple mover: two confined worker processes, one at each end, joined by a few TLS connections.

The bytes go from worker to worker; this process sees only counters. The receiving worker listens on the
address of its place and the sending one connects to it, or the other way round where that is not possible;
each holds a key made for this copy alone where it runs and accepts only the other. What arrived is noted in a
journal where the receiver runs, so that a copy that was killed goes on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crossport import errors, merkle
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket
from crossport.spi.clock import Clock
from crossport.spi.limit import RateLimits
from crossport.transfer import pace
from crossport.transfer.dialling import Dialling
from crossport.transfer.heat import heat_of
from crossport.transfer.host import WorkerHost, journal_of
from crossport.transfer.job import DigestJob, subject_of
from crossport.transfer.meter import counters_of, number
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.pair import Settings, both, claimed, introduce, root
from crossport.transfer.tally import Tally
from crossport.transfer.ticket import Grants
from crossport.transfer.together import entered

__all__ = ["Settings", "SimpleMover"]


class SimpleMover:
    """Copies as `crossport.spi.mover.Mover` says, with the workers that ``host`` starts."""

    def __init__(
        self,
        host: WorkerHost,
        clock: Clock,
        settings: Settings | None = None,
        limits: RateLimits | None = None,
        dialling: Dialling | None = None,
        names: NameKeys | None = None,
    ) -> None:
        """``limits`` say how fast each copy may send; without them it is as fast as it can.

        ``dialling`` may be shared with others that join the same places. ``names`` make the keys by which
        chunks are named; without them each copy has a key of its own.
        """
        self._dialling = dialling or Dialling()
        self._host = host
        self._limits = limits
        self._names = names
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
                "transfer.ticket.superseded",
                "The same copy was begun again, with this or a higher epoch.",
                remedy="Nothing: the copy that was begun later goes on.",
            )
        return task.result()

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int = merkle.CHUNK, copied: Copied | None = None
    ) -> Digest:
        """Read the first ``ref.size`` bytes at rest and return their Merkle root.

        A worker at ``place`` reads them, as far as the journal of ``copied`` does not say that they were read
        since they were written. Raise what reading raises, and Unavailable when the worker died.
        """
        known = copied if ref.identity else None
        journal = (known.run, known.artifact) if known else None
        subject = subject_of(known, ref) if known else {}
        async with self._host.started("digest", ref, place, journal) as worker:
            worker.egress = self._settings.egress
            await worker.give(DigestJob(ref, chunk_size, self._settings.disk_timeout_s, subject).line())
            said = await worker.event("done")
            return Digest(root=root(said), read=number(said, "bytes_read"))

    async def forget(self, run: str) -> None:
        """End ``run``'s copies and drop what is kept of it."""
        for key, task in list(self._running.items()):
            if key[0] == run:
                task.cancel()
                await asyncio.wait({task})
        await self._host.forget(run)
        if self._limits is not None:
            await self._limits.forget(run)

    def _key(self, read: Ticket) -> bytes:
        return self._names.key(read.tenant, read.place.site) if self._names else b""

    async def _end_former(self, key: tuple[str, str]) -> None:
        former = self._running.get(key)
        if former is not None:
            former.cancel()
            await asyncio.wait({former})

    async def _copied(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy over a link that the sender opens, or else the receiver: one of them can be reached."""
        return await self._dialling.either(
            read.place,
            write.place,
            lambda sender_dials: self._joined(read, write, report, sender_dials=sender_dials),
        )

    async def _joined(
        self, read: Ticket, write: Ticket, report: Callable[[Progress], None], *, sender_dials: bool
    ) -> Moved:
        tally = Tally(read.artifact, read.ref.size, self._clock, report)
        stock = self._names.stock(write.tenant, read.place.site) if self._names else ""
        async with (
            pace.counted(self._limits, read, write) as passing,
            entered(
                self._host.started("send", read.ref, read.place, journal_of(read)),
                self._host.started(
                    "receive", write.ref, write.place, journal_of(write), stock, write.published
                ),
            ) as pair,
        ):
            sender, receiver = pair
            sender.egress = receiver.egress = self._settings.egress
            key = receiver.names_key or self._key(read)
            await introduce(self._settings, (read, write), pair, key, sender_dials=sender_dials)

            def heard(said: dict[str, Any]) -> None:
                tally.from_sender(said)
                passing.sent(counters_of(said).sent)

            async with pace.told(passing, sender):
                sent, received = await both(
                    sender.event("done", heard), receiver.event("done", tally.from_receiver)
                )
        tally.from_sender(sent)
        tally.from_receiver(received)
        if root(sent) != root(received):
            raise errors.Broken(
                "transfer.root.differs",
                "The two ends disagree about what was copied.",
                remedy="Resume the run: it is copied again. If it lasts, test the memory of both machines.",
            )
        heat = heat_of(sent, read.ref.size, defers=read.defers)
        moved = tally.moved(self._settings.chunk_size, root(received))
        return replace(moved, heat=heat, claim=claimed(sent), arrival=claimed(received))
