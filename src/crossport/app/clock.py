"""The machine's own clock: the only place where time is read."""

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """Implements ``spi.clock.Clock``."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Return Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
