"""Wake those who wait for something about a run in this process; other processes look again by themselves."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Bells", "rung"]


class Bells:
    """One bell per waiting party, by run."""

    def __init__(self) -> None:
        self._bells: dict[str, set[asyncio.Event]] = {}

    def ring(self, run: str) -> None:
        """Wake everybody who waits for ``run``."""
        for bell in self._bells.get(run, ()):
            bell.set()

    @contextmanager
    def listening(self, run: str) -> Generator[asyncio.Event, None, None]:
        """Give an event that is set whenever something about ``run`` changed; the listener clears it."""
        bell = asyncio.Event()
        self._bells.setdefault(run, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[run].discard(bell)
            if not self._bells[run]:
                del self._bells[run]


async def rung(bell: asyncio.Event, longest_s: float) -> None:
    """Wait for ``bell``, at most ``longest_s``, and clear it."""
    try:
        async with asyncio.timeout(longest_s):
            await bell.wait()
    except TimeoutError:
        pass
    bell.clear()
