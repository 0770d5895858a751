"""Let a sending worker know how fast it may be, while it sends: a line on its input for each rate."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from crossport.model.artifact import Ticket
from crossport.spi.limit import Passing, RateLimits
from crossport.transfer.host import Worker

__all__ = ["counted", "told"]


class _Unlimited:
    """A copy that nobody holds back."""

    def sent(self, size: int) -> None:
        del size

    async def rates(self) -> AsyncIterator[int | None]:
        yield None


@asynccontextmanager
async def counted(limits: RateLimits | None, read: Ticket, write: Ticket) -> AsyncGenerator[Passing]:
    """Count a copy among those that share the link, while the context lasts."""
    if limits is None:
        yield _Unlimited()
        return
    async with limits.passing(read, write) as passing:
        yield passing


@asynccontextmanager
async def told(passing: Passing, sender: Worker) -> AsyncGenerator[None]:
    """Tell the sending worker every rate that holds, while the context lasts."""

    async def forever() -> None:
        async for bps in passing.rates():
            await sender.give(json.dumps({"do": "rate", "bps": bps}).encode() + b"\n")

    telling = asyncio.create_task(forever())
    try:
        yield
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
