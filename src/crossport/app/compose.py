"""The composition root: which parts a site is made of. Everything else gets its parts handed in."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crossport.app.settings import Settings
from crossport.spi.clock import Clock
from crossport.spi.control import Control
from crossport.spi.document import Documents
from crossport.testing.control import MemoryControl
from crossport.testing.document import MemoryDocuments

__all__ = ["Parts", "composed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A running site below its API. ``active`` says whether a run is under way that must not be ended."""

    control: Control
    documents: Documents
    active: Callable[[], Awaitable[bool]]
    entropy: Callable[[int], bytes] = secrets.token_bytes


@asynccontextmanager
async def composed(settings: Settings, clock: Clock) -> AsyncGenerator[Parts]:
    """Run the site that the settings describe; at the end its runs stay as they are, to be continued."""
    async with in_memory(clock) as parts:
        yield parts


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncGenerator[Parts]:
    """Run a site that forgets everything: for tests of clients."""
    control = MemoryControl(clock, pace_s=0.2)
    try:
        yield Parts(control=control, documents=MemoryDocuments(), active=control.active)
    finally:
        await control.close()
