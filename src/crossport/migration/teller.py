"""Turn a mover's progress, told from anywhere at any rate, into events of the run, a few a second."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from crossport.model.artifact import Progress
from crossport.model.run import Event, EventKind
from crossport.spi.clock import Clock
from crossport.spi.run import RunContext

__all__ = ["telling"]

INTERVAL_S = 0.25


@asynccontextmanager
async def telling(context: RunContext, clock: Clock) -> AsyncGenerator[Callable[[Progress], None]]:
    """Give a function that takes progress; the last one told is emitted before this ends."""
    latest: list[Progress] = []

    async def tell() -> None:
        if latest:
            await context.emit(Event(kind=EventKind.PROGRESS, progress=latest.pop()))

    async def forever() -> None:
        while True:
            await clock.sleep(INTERVAL_S)
            await tell()

    def report(progress: Progress) -> None:
        latest[:] = [progress]

    task = asyncio.create_task(forever())
    try:
        yield report
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await tell()
