"""End a worker in the very moment of its start: nothing of it may stay, whatever bubblewrap was doing."""

import asyncio
from pathlib import Path

from crossport.model.artifact import DiskRef, Place
from crossport.transfer import confined

STARTS = 150
STEP_S = 0.00004  # over all starts, the first 6 ms: the time in which bubblewrap makes its child


async def test_a_worker_that_is_ended_while_it_starts_is_gone(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    ref = DiskRef(kind="file", locator=str(disk), size=4096)
    for number in range(STARTS):
        place = Place(cloud="alpha", subnet="VMExportSubnet", address="127.0.0.1")
        async with asyncio.timeout(30), confined.piped("digest", ref, place):
            await asyncio.sleep(number * STEP_S)


async def test_a_worker_whose_start_is_cancelled_is_gone(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    ref = DiskRef(kind="file", locator=str(disk), size=4096)
    place = Place(cloud="alpha", subnet="VMExportSubnet", address="127.0.0.1")

    async def begin() -> None:
        async with confined.piped("digest", ref, place):
            await asyncio.Event().wait()

    for turns in range(20):
        task = asyncio.create_task(begin())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait({task})
        assert task.cancelled()


async def test_who_ends_a_worker_and_is_cancelled_has_ended_it_all_the_same(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    ref = DiskRef(kind="file", locator=str(disk), size=4096)
    place = Place(cloud="alpha", subnet="VMExportSubnet", address="127.0.0.1")
    pipes = list[confined.LocalPipe]()

    async def run() -> None:
        async with confined.piped("digest", ref, place) as pipe:
            pipes.append(pipe)
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    async with asyncio.timeout(30):
        while not pipes:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({task})
    assert pipes[0].process.returncode is not None
