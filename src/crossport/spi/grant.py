"""By whose right runs go on: who begins them for people whose own right is short, shows that, and ends it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from crossport.model.grant import Begun, GrantScope, RunGrant
from crossport.model.run import RunRecord

__all__ = ["RunGrants"]


class RunGrants(Protocol):
    """The run grants of a site."""

    async def begun(self, begun: Begun, start: Callable[[], Awaitable[RunRecord]]) -> RunRecord:
        """Begin a run with ``start``, holding its grant before; return the run.

        A run that is there already was begun by whoever began it, and gets no other right.
        """
        ...

    async def listed(self, scope: GrantScope) -> tuple[RunGrant, ...]:
        """Return the grants in ``scope``, by run: of those that are over, what is still kept."""
        ...

    async def shown(self, run: str, scope: GrantScope) -> RunGrant:
        """Return one; raise NotFound ``grant.unknown``."""
        ...

    async def revoke(self, run: str, scope: GrantScope, by: str) -> RunGrant:
        """Take a run its right; it may be asked twice. One that is over is left as it is."""
        ...
