"""Who says how fast copies may send: kept bounds, and each copy's share of them while it is under way."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from crossport.model.artifact import Ticket
from crossport.model.limit import LinkLimit, LinkLimitStatus, RunLimit

__all__ = ["Passing", "RateBook", "RateLimits"]


class Passing(Protocol):
    """One copy under way, as its limits see it."""

    def sent(self, size: int) -> None:
        """Tell how many bytes it has sent in all. Called whenever that is known anew."""
        ...

    def rates(self) -> AsyncIterator[int | None]:
        """Yield the rate in bits per second that holds now, then each new one; None is no bound."""
        ...


class RateLimits(Protocol):
    """Whoever shares links among copies."""

    def passing(self, read: Ticket, write: Ticket) -> AbstractAsyncContextManager[Passing]:
        """Count a copy from ``read.place`` to ``write.place`` among those that share, while it lasts."""
        ...

    async def forget(self, run: str) -> None:
        """Forget the bound of a run that copies no more. May be called again, and for any run."""
        ...


class RateBook(Protocol):
    """The bounds of links, for all tenants, and of runs. Who asks has checked that the run is his."""

    async def links(self) -> tuple[LinkLimitStatus, ...]:
        """Return the limits of links, by source and target."""
        ...

    async def set_link(self, limit: LinkLimit) -> LinkLimitStatus:
        """Keep a limit in place of the link's former one. Raise Invalid for one that contradicts itself."""
        ...

    async def remove_link(self, source: str, target: str) -> None:
        """Forget a limit. Raise NotFound."""
        ...

    async def set_run(self, run: str, limit: RunLimit) -> None:
        """Bound a run, or take its bound away."""
        ...

    async def run_limit(self, run: str) -> RunLimit:
        """Return a run's own bound."""
        ...
