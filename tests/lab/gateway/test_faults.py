"""What may happen to a copy between two gateways: a link that is cut, a gateway that is killed, a bad sector.

Each is judged by what is sent again, and by how soon new bytes arrive.
"""

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lab.gateway.between import Between

from crossport import errors
from crossport.model.artifact import DiskRef, Progress
from crossport.testing.conformance.block import noise
from crossport.testing.unix_socket import wait_until_it_listens
from crossport.transfer.simple import SimpleMover
from crossport.units import MIB

pytestmark = pytest.mark.root

SENT_AGAIN = 64 * MIB
"""What any fault may cost, whatever the size of the disk."""
SOON_S = 5.0
BUSY_S = 15.0
"""How soon new bytes are seen by a test that shares the machine with others."""
ENDS = {"source": 0, "target": 1}


def beyond(done: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.done > done


def written(new: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.counters.written > new


def arrived(seen: list[Progress]) -> int:
    """Return how many bytes all copies wrote together.

    What one holds of those before is not among them: it is compared at the end, within a moment.
    """
    total = last = 0
    for one in seen:
        if one.counters.written < last:
            total += last
        last = one.counters.written
    return total + last


async def insisting(between: Between, mover: SimpleMover, disks: tuple[DiskRef, DiskRef]) -> int:
    """Copy again and again, as a run does; return how many bytes were sent in all."""
    sent = 0
    while True:
        first = len(between.seen)
        try:
            moved = await between.copied(mover, *disks)
        except errors.Unavailable:
            sent += max((one.counters.sent for one in between.seen[first:]), default=0)
            await asyncio.sleep(0.1)
        else:
            return sent + moved.counters.sent


def begun_anew(before: int) -> Callable[[Progress], bool]:
    """Return whether it is progress of a copy that was begun anew, and has written or compared something."""

    def begun(progress: Progress) -> bool:
        counters = progress.counters
        return counters.written + counters.present > 0 and progress.done < before

    return begun


@pytest.mark.parametrize(
    ("cut_s", "soon_s"),
    [(0.0, BUSY_S), pytest.param(60.0, SOON_S, marks=pytest.mark.soak)],
    ids=["until it is noticed", "a minute"],
)
async def test_a_link_that_is_cut_holds_the_copy_up_and_costs_little(
    between: Between, cut_s: float, soon_s: float
) -> None:
    content = noise(48 * MIB)
    disks = between.disk("source", content), between.disk("target", bytes(len(content)))
    between.limit("60mbit")
    copying = asyncio.create_task(between.copied(between.mover(), *disks))
    await between.until(beyond(12 * MIB))
    between.cut()
    cut = time.monotonic()
    # The watchdog names the cause, and the run goes on: nothing fails.
    await between.until(lambda progress: progress.waits_for == "link")
    await asyncio.sleep(max(0.0, cut_s - (time.monotonic() - cut)))
    done = between.seen[-1].done
    assert not copying.done()
    between.mend()
    assert await between.until(beyond(done)) < soon_s
    between.limit("1gbit")
    moved = await copying
    assert Path(disks[1].locator).read_bytes() == content
    assert moved.counters.sent < len(content) + SENT_AGAIN


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("size", "shares", "soon_s"),
    [
        (96 * MIB, (0.5,), BUSY_S),
        pytest.param(512 * MIB, (0.1, 0.5, 0.9), SOON_S, marks=pytest.mark.soak),
    ],
    ids=["once", "three times"],
)
async def test_a_gateway_that_is_killed_costs_little_and_new_bytes_come_soon(
    between: Between, end: str, size: int, shares: tuple[float, ...], soon_s: float
) -> None:
    content = noise(size)
    disks = between.disk("source", content), between.disk("target", bytes(size))
    between.limit("200mbit")
    copying = asyncio.create_task(insisting(between, between.mover(), disks))
    for share in shares:
        await between.until(written(int(share * size) - arrived(between.seen)))
        killed = between.gateways[ENDS[end]]
        began = time.monotonic()
        between.gateways[ENDS[end]] = await killed.again(between.site)
        await between.until(begun_anew(int(share * size / 2)))
        assert time.monotonic() - began < soon_s
    between.limit("2gbit")
    sent = await copying
    assert Path(disks[1].locator).read_bytes() == content
    assert sent < size + len(shares) * SENT_AGAIN


def served(socket: Path, image: str) -> subprocess.Popen[bytes]:
    argv = ["qemu-nbd", "-k", str(socket), "-x", "disk", "--persistent", "-e", "8", "--image-opts", image]
    return subprocess.Popen(argv)


async def test_a_bad_sector_is_told_by_its_place_and_the_rest_can_be_copied_later(between: Between) -> None:
    content = noise(8 * MIB)
    disks = between.disk("source", content), between.disk("target", bytes(len(content)))
    socket = between.home / "source.sock"
    image = (
        "driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,"
        f"inject-error.0.sector=4096,image.driver=file,image.filename={disks[0].locator}"
    )
    server = served(socket, image)
    try:
        wait_until_it_listens(socket)
        socket.chmod(0o666)
        bad = DiskRef(kind="nbd", locator=f"unix:{socket}?export=disk", size=len(content), identity="source")
        with pytest.raises(errors.Broken) as caught:
            await between.copied(between.mover(), bad, disks[1])
    finally:
        server.kill()
        server.wait()
    assert "Bytes 2097152 to" in caught.value.text
    assert caught.value.remedy
    await between.copied(between.mover(), *disks)
    assert Path(disks[1].locator).read_bytes() == content
