"""What a migration works with, handed in by the composition root."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from crossport.migration.passage import Passage
from crossport.model.artifact import Place, Rate
from crossport.model.run import Estimate, Hook, MigrationRequest
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover
from crossport.spi.site import Site

__all__ = ["Estimator", "Hooks", "Parts", "RateProbe"]


class Estimator(Protocol):
    """Who predicts a migration."""

    async def estimate(self, vm: VM, request: MigrationRequest) -> Estimate:
        """Return what is expected. Never fails for want of knowledge: then it says on which basis."""
        ...


class RateProbe(Protocol):
    """Who measures a link by sending something over it."""

    async def measure(self, source: Place, target: Place) -> Rate:
        """Return how fast bytes pass from one seat to the other now, within a few seconds.

        Raise an `errors.Error` when it cannot be told.
        """
        ...


class Hooks(Protocol):
    """Who runs what an operator registered."""

    def unknown(self, hooks: tuple[Hook, ...]) -> tuple[str, ...]:
        """Return the names that nobody registered."""
        ...

    async def run(self, hook: Hook, run: str, vm: VM) -> None:
        """Run one hook; raise RolledBack (``hook.failed``) when it fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The two ends and the means. ``site`` returns the site of a cloud: this one, or a partner.

    ``passage`` returns what is known of the way from one cloud to another.
    """

    site: Callable[[str], Awaitable[Site]]
    mover: Mover
    clock: Clock
    estimator: Estimator
    hooks: Hooks
    passage: Callable[[str, str], Awaitable[Passage]]
