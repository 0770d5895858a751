"""The figures of copies and gateways, as Prometheus reads them."""

import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from crossport import errors
from crossport.app.figures import CountedMover, NodeFigures
from crossport.gateway.desk import Desk
from crossport.model.artifact import DiskRef, Place, Progress, Ticket, Way
from crossport.testing.memory_disk import MemoryDisks
from crossport.testing.mover import MemoryMover

CONTENT = bytes(range(1, 251)) * 4096


class MachineClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def told(mover: CountedMover, **desks: Desk) -> list[str]:
    registry = CollectorRegistry()
    registry.register(NodeFigures(mover, desks))
    return generate_latest(registry).decode().splitlines()


def tickets(disks: MemoryDisks) -> tuple[Ticket, Ticket]:
    ends: list[Ticket] = []
    for way in (Way.READ, Way.WRITE):
        ref = disks.create(f"alpha/{way}", len(CONTENT))
        place = Place(cloud="alpha", subnet="VMExportSubnet", address="127.0.0.1")
        facts: dict[str, Any] = {"ref": ref, "place": place, "way": way, "nonce": way, "id": way}
        facts |= {"tenant": "acme", "run": "run-1", "epoch": 1, "artifact": "disk-0"}
        ends.append(Ticket(**facts, byte_budget=1 << 30, expires=time.time() + 60))
    writer = disks.open_writer(ends[0].ref)
    writer.write(0, CONTENT)
    writer.close()
    return ends[0], ends[1]


async def test_bytes_are_counted_by_what_became_of_them_while_a_copy_runs_and_after():
    disks = MemoryDisks()
    seen: list[tuple[int, float]] = []

    def look(progress: Progress) -> None:
        seen.append((len(mover.running), mover.counters.written))

    mover = CountedMover(MemoryMover(disks, MachineClock()))
    moved = await mover.move(*tickets(disks), look)
    assert seen[-1] == (1, moved.counters.written)
    assert (mover.counters, mover.running) == (moved.counters, ())
    assert 'crossport_copy_bytes_total{kind="written"} 1.024e+06' in told(mover)
    assert "crossport_copies 0.0" in told(mover)


async def test_a_copy_that_failed_is_counted_and_over():
    disks = MemoryDisks()
    mover = CountedMover(MemoryMover(disks, MachineClock()))
    read, write = tickets(disks)
    disks.remove(write.ref.locator)
    with pytest.raises(errors.Unavailable):
        await mover.move(read, write, lambda _: None)
    assert mover.running == ()
    with pytest.raises(errors.NotFound):
        await mover.digest(DiskRef(kind="memory", locator="none", size=1), write.place, 1)


def test_a_gateway_is_told_with_what_it_runs():
    async def listed() -> bool:
        return True

    desk = Desk("gw-1", MachineClock(), listed)
    desk.reported = 3
    lines = told(CountedMover(MemoryMover(MemoryDisks(), MachineClock())), **{"gw-1": desk})
    assert 'crossport_gateway_connected{gateway="gw-1"} 0.0' in lines
    assert 'crossport_gateway_jobs{gateway="gw-1"} 3.0' in lines
