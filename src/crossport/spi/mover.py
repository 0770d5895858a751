"""Copying one artifact from one gateway to another, verified."""

from collections.abc import Callable
from typing import Protocol

from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket

__all__ = ["Mover"]


class Mover(Protocol):
    """Whoever copies: the simple mover, or a pair of gateways."""

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy all that ``read`` gives to ``write``; return when it is durable and verified there.

        What an earlier call of the same run and artifact left at the target is gone on with: only what is
        missing or differs is sent. Where that is not known all is sent again. An extent that is not
        ``changed`` is taken to be as the last whole copy found it, and is not read if the target holds it.

        What is owed in ``read.heat`` counts as changed. Where ``read`` defers, what changes all the time may
        be left out, and is owed in what is returned: whoever copies again tells it.

        Every chunk is checked on arrival. ``report`` is called a few times a second. May be called again
        after any failure, with tickets of the same or a higher epoch. Raise Unavailable when an end does
        not answer, Refused for a ticket that is wrong, old or over its budget, Broken for a chunk that
        arrived damaged more often than the bound, Invalid for a target smaller than the source.
        """
        ...

    async def forget(self, run: str) -> None:
        """End ``run``'s copies, drop what is kept of it. May be called again, and for runs nobody knows."""
        ...

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None
    ) -> Digest:
        """Return the Merkle root over ``ref``'s bytes as they lie there now.

        Read at ``place``, not here. What an earlier call read of what ``copied`` brought there, and was
        right, need not be read again unless it was written since. Raise Unavailable when it cannot be read
        now.
        """
        ...
