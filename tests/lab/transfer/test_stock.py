"""Workers of one tenant share content through a stock of their host; those of another see nothing of it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.transfer.transfer_lab import Lab, workers_of

from crossport.model.artifact import DiskRef, Moved, Progress
from crossport.testing.conformance.block import noise
from crossport.transfer.confined import LocalHost
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.simple import SimpleMover
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks

MIB = 1 << 20
CONTENT = noise(6 * MIB)


@pytest.fixture
def mover(lab: Lab, tmp_path: Path) -> SimpleMover:
    host = LocalHost(tmp_path / "journals", Stocks(tmp_path / "stocks", 4 * SEGMENT))
    return SimpleMover(host, lab.clock, names=NameKeys(bytes(32)))


async def moved(
    lab: Lab, mover: SimpleMover, run: str, tenant: str = "acme", published: tuple[DiskRef, ...] = ()
) -> Moved:
    source, target = lab.file(CONTENT), lab.file(size=len(CONTENT))
    read, write = (
        replace(ticket, run=run, tenant=tenant, nonce=f"{run}-{ticket.way}")
        for ticket in lab.tickets(source, replace(target, identity=target.locator))
    )
    found = await mover.move(read, replace(write, published=published), ignore)
    assert Path(target.locator).read_bytes() == CONTENT
    return found


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


async def test_what_an_earlier_run_of_the_tenant_brought_is_not_sent(lab: Lab, mover: SimpleMover) -> None:
    first = await moved(lab, mover, "run-1")
    again = await moved(lab, mover, "run-2")
    other = await moved(lab, mover, "run-3", "evil")
    assert first.counters.sent > len(CONTENT)
    assert again.counters.sent < 16 << 10
    assert again.counters.shared == again.counters.offered == len(CONTENT)
    assert (other.counters.offered, other.counters.shared) == (0, 0)
    assert other.counters.sent > len(CONTENT)


async def test_what_an_image_has_that_the_target_publishes_is_not_sent(lab: Lab, mover: SimpleMover) -> None:
    """One image is served, one is a file, one is no longer there."""
    published = (
        DiskRef(kind="nbd", locator=f"unix:{lab.directory}/gone.sock?export=disk", size=MIB),
        lab.file(noise(MIB, "something else")),
        lab.served(lab.file(CONTENT)),
    )
    found = await moved(lab, mover, "run-1", published=published)
    assert found.counters.sent < 16 << 10
    assert found.counters.shared == found.counters.offered == len(CONTENT)
    other = await moved(lab, mover, "run-2", "evil")
    assert (other.counters.offered, other.counters.shared) == (0, 0)


def _write(disk: DiskRef, places: list[tuple[int, bytes]]) -> None:
    with Path(disk.locator).open("r+b") as file:
        for start, part in places:
            file.seek(start)
            file.write(part)


async def test_two_tib_that_are_shared_cost_little_memory(lab: Lab, mover: SimpleMover) -> None:
    """A part is in an image, a part came with another disk, a part is new."""
    parts = [noise(MIB, "new"), CONTENT[:MIB], noise(MIB, "published")]
    await moved(lab, mover, "run-1")
    size = 2 << 40
    source, image, target = (lab.file(size=size) for _ in range(3))
    places = [(min(number << 40, size - MIB), part) for number, part in enumerate(parts)]
    _write(source, places)
    _write(image, places[2:])
    seen = list[int]()

    def look(progress: Progress) -> None:
        seen.extend(worker.peak_size for worker in workers_of(os.getpid()))

    read, write = (
        replace(ticket, run="run-2", byte_budget=1 << 42, nonce=f"run-2-{ticket.way}")
        for ticket in lab.tickets(source, replace(target, identity=target.locator))
    )
    found = await mover.move(read, replace(write, published=(image,)), look)
    assert (found.counters.written, found.counters.shared) == (3 * MIB, 2 * MIB)
    assert max(seen) < 128 * MIB
