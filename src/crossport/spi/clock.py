"""Time as something that is handed in: so that tests decide it and jumps of the wall clock do no harm."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Durations come from ``monotonic`` only; ``wall`` is for people and certificates."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def wall(self) -> float:
        """Return Unix seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
