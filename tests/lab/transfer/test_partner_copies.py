"""Copies to and from a partner by real workers: what is shared, how fast they are, and what a cut costs."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.lab.transfer.transfer_lab import Lab, workers_of
from tests.unit.transfer.two_sites import from_south, local, two_sites

from crossport import errors
from crossport.migration.limits import Limits
from crossport.model.artifact import Moved, Progress, Ticket, Way
from crossport.model.limit import LinkLimit, RunLimit
from crossport.testing.conformance.block import noise
from crossport.testing.document import MemoryDocuments
from crossport.transfer.stock_table import SEGMENT
from crossport.units import MIB

CONTENT = noise(4 * MIB)
SLOW_BPS = 1_000_000


class Pair:
    """North, which has the mover and its limits, and its partner south."""

    def __init__(self, lab: Lab) -> None:
        documents = MemoryDocuments()
        self.lab = lab
        self.limits = Limits(lambda: documents, lab.clock, "node")
        self.north, self.south = two_sites(
            local(lab.directory / "north", stock_size=SEGMENT),
            local(lab.directory / "south", stock_size=SEGMENT),
            self.limits,
        )
        self.seen: list[Progress] = []

    async def tickets(
        self, run: str, abroad: Way, content: bytes = CONTENT, **words: Any
    ) -> tuple[Ticket, Ticket]:
        """Return tickets of a new source and target, that of one end as south gave it."""
        source, target = self.lab.file(content), self.lab.file(size=len(content))
        target = replace(target, identity=target.locator)
        read, write = (
            replace(ticket, run=run, nonce=f"{run}-{ticket.way}", **words)
            for ticket in self.lab.tickets(source, target)
        )
        self.target = Path(target.locator)
        if abroad is Way.READ:
            return await from_south(self.south, read), write
        return read, await from_south(self.south, write)

    async def moved(self, tickets: tuple[Ticket, Ticket]) -> Moved:
        return await self.north.mover.move(*tickets, self.seen.append)

    async def under_way(self, least: int = 1) -> None:
        """Return when something of the copy was sent."""
        async with asyncio.timeout(60):
            while not (self.seen and self.seen[-1].counters.sent >= least):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.fixture
def pair(lab: Lab) -> Pair:
    return Pair(lab)


async def test_what_came_over_is_not_sent_again_and_nothing_else_is_known(pair: Pair) -> None:
    first = await pair.moved(await pair.tickets("run-1", Way.WRITE))
    again = await pair.moved(await pair.tickets("run-2", Way.WRITE))
    assert pair.target.read_bytes() == CONTENT
    assert first.counters.sent > len(CONTENT)
    assert again.counters.sent < 16 << 10
    assert again.counters.shared == len(CONTENT)
    # The same content within the receiver's site, of the very same tenant, is in another stock.
    source, target = pair.lab.file(CONTENT), pair.lab.file(size=len(CONTENT))
    read, write = (
        replace(ticket, tenant="southern", run="own", nonce=f"own-{ticket.way}")
        for ticket in pair.lab.tickets(source, replace(target, identity=target.locator))
    )
    own = await pair.south.mover.move(read, write, pair.seen.append)
    assert (own.counters.offered, own.counters.shared) == (0, 0)


async def test_a_partner_s_worker_sends_as_fast_as_the_limits_here_say(pair: Pair) -> None:
    link = ("beta@south", "alpha")
    read, write = await pair.tickets("run-1", Way.READ)
    assert (read.place.called, write.place.called) == link
    await pair.limits.set_run("run-1", RunLimit(rate_bps=8 * SLOW_BPS))
    await pair.limits.set_link(LinkLimit(source=link[0], target=link[1], rate_bps=SLOW_BPS))
    copy = asyncio.ensure_future(pair.moved((read, write)))
    await pair.under_way()
    first, loop = pair.seen[-1].counters.sent, asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(1.0)  # a rate is what passes in a time
    passed, took_s = pair.seen[-1].counters.sent - first, loop.time() - began
    # What sockets and workers hold back comes on top, once.
    assert passed < SLOW_BPS / 8 * took_s + MIB
    await pair.limits.remove_link(*link)
    await pair.limits.set_run("run-1", RunLimit(rate_bps=None))
    assert (await copy).counters.written == len(CONTENT)


async def test_a_copy_whose_stream_is_cut_ends_at_both_sites_and_goes_on(pair: Pair) -> None:
    await pair.limits.set_run("run-1", RunLimit(rate_bps=8 * SLOW_BPS))
    read, write = await pair.tickets("run-1", Way.WRITE)
    copy = asyncio.ensure_future(pair.moved((read, write)))
    await pair.under_way(2 * MIB)
    await pair.north.world.cut()
    with pytest.raises(errors.Unavailable) as caught:
        await copy
    assert caught.value.code == "partner.away"
    async with asyncio.timeout(30):
        while pair.south.workers.count or workers_of(os.getpid()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await pair.limits.set_run("run-1", RunLimit(rate_bps=None))
    moved = await pair.moved((read, write))
    assert pair.target.read_bytes() == CONTENT
    assert 0 < moved.counters.present < len(CONTENT)
