"""One call after the other, for each run of a partner: of the partner itself, and of this site's operator."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakValueDictionary

__all__ = ["Turns"]


class Turns:
    """The turns of all runs; those that nobody waits for are forgotten."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reading: dict[str, set[asyncio.Task[Any]]] = {}

    def of(self, run: str) -> asyncio.Lock:
        """Return the lock of a run, to hold while something is done for it."""
        return self._turns.setdefault(run, asyncio.Lock())

    @contextlib.asynccontextmanager
    async def reading(self, run: str) -> AsyncGenerator[None]:
        """Hold that lock, in a task of its own, for what only reads, and long: it may be ended meanwhile."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        readers = self._reading.setdefault(run, set())
        readers.add(task)
        try:
            async with self.of(run):
                yield
        finally:
            readers.discard(task)
            if not readers and self._reading.get(run) is readers:
                del self._reading[run]

    async def end_reading(self, run: str) -> None:
        """End what reads for the run, or waits to: what leads back, or a right that is lost, comes first."""
        tasks = [task for task in self._reading.get(run, ()) if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
