"""Limits over real workers: a copy is as fast as it may be, and follows a new limit within two seconds."""

import asyncio
import time

from tests.lab.transfer.transfer_lab import Lab

from crossport.migration.limits import Limits
from crossport.model.artifact import Progress
from crossport.model.limit import RunLimit
from crossport.testing.conformance.block import noise
from crossport.testing.document import MemoryDocuments
from crossport.transfer.confined import LocalHost
from crossport.transfer.simple import SimpleMover
from crossport.units import MIB

MBIT = 1_000_000
SETTLED_S, MEASURED_S = 1.0, 2.0


async def test_a_copy_under_way_follows_the_limits_of_its_link_and_run(lab: Lab) -> None:
    documents = MemoryDocuments()
    limits = Limits(lambda: documents, lab.clock, "node")
    mover = SimpleMover(LocalHost(), lab.clock, limits=limits)
    seen, flowing = [(time.monotonic(), 0)], asyncio.Event()

    def report(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.counters.sent))
        if progress.counters.sent:
            flowing.set()

    read, write = lab.tickets(lab.file(noise(64 * MIB)), lab.file(size=64 * MIB))
    copy = asyncio.ensure_future(mover.move(read, write, report))
    try:
        await limits.set_run("run-1", RunLimit(rate_bps=8 * MBIT))
        async with asyncio.timeout(60):
            await flowing.wait()  # a busy machine takes its time to start the workers
        for rate in (32 * MBIT, 64 * MBIT, 24 * MBIT):
            await limits.set_run("run-1", RunLimit(rate_bps=rate))
            await asyncio.sleep(SETTLED_S)
            # A busy machine may fall behind its rate; the rate before would be outside.
            assert 0.6 * rate < await _rate(seen) < 1.15 * rate
        await limits.set_run("run-1", RunLimit(rate_bps=None))
        moved = await copy
        assert moved.counters.sent > 60 * MIB
    finally:
        copy.cancel()
        await asyncio.gather(copy, return_exceptions=True)


async def _rate(seen: list[tuple[float, int]]) -> float:
    """Return the bits per second that passed from now on, as the copy itself tells."""
    first = len(seen) - 1
    await asyncio.sleep(MEASURED_S)
    (began, before), (ended, after) = seen[first], seen[-1]
    return (after - before) * 8 / (ended - began)
