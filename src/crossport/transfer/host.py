"""Who starts workers, and a running worker as the mover sees it, wherever it runs."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeAlias

from crossport import errors
from crossport.model.artifact import DiskRef, Place, Ticket
from crossport.model.artifact import Way as Direction
from crossport.transfer.egress import Egress, Guard
from crossport.transfer.far_egress import judged
from crossport.transfer.job import failure_from

__all__ = ["Journal", "Pipe", "Way", "Worker", "WorkerHost", "journal_of"]

Way: TypeAlias = Literal["send", "receive", "digest", "look", "inspect"]
Journal: TypeAlias = tuple[str, str]
"""Whose journal it is: the run and the artifact, or the book of what was read of that."""


def journal_of(ticket: Ticket) -> Journal | None:
    """Return which file the end of a copy goes on with that has this ticket, None when it begins anew.

    A volume that cannot be told from another one must not be taken for it.
    """
    if not ticket.ref.identity:
        return None
    # Both ends of a copy may be at one host.
    return ticket.run, ticket.artifact if ticket.way is Direction.WRITE else f"{ticket.artifact} read"


class Pipe(Protocol):
    """The way to a worker and back, line by line. ``certificate`` is what the worker shows its peer."""

    name: str
    certificate: str

    async def give(self, line: bytes) -> None:
        """Hand the worker a line. What it makes of it, and whether it still lives, it tells itself."""
        ...

    async def said(self) -> dict[str, Any]:
        """Return what the worker says next; raise Unavailable when it died or hangs, Broken for no event."""
        ...


class Worker:
    """A running worker at the other end of ``pipe``, as its starter sees it.

    ``egress`` says what it may fetch; None: nothing. ``names_key`` is that of the names, where the site at
    which it runs has chosen one; else it is empty.
    """

    def __init__(self, pipe: Pipe, names_key: bytes = b"") -> None:
        self.pipe = pipe
        self.names_key = names_key
        self.egress: Guard | None = None

    @property
    def certificate(self) -> str:
        """What the worker shows its peer, as PEM; its key stays where it runs."""
        return self.pipe.certificate

    async def give(self, line: bytes) -> None:
        """Hand the worker its job."""
        await self.pipe.give(line)

    async def event(self, name: str, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """Return the event ``name``, passing on progress meanwhile.

        Raise the error that the worker told, Unavailable when it died or hangs.
        """
        while True:
            said = await self.said()
            match said.get("event"):
                case "progress":
                    if on_progress is not None:
                        on_progress(said)
                case "failed":
                    raise failure_from(said)
                case other if other == name:
                    return said
                case other:
                    raise errors.Broken(
                        "transfer.worker.malformed",
                        f"{self.pipe.name} said {str(other)[:40]!r}.",
                        remedy=errors.SAME_RELEASE,
                    )

    async def said(self) -> dict[str, Any]:
        """Return what it says next. What it asks about the web is answered. Raise what its pipe raises."""
        while (said := await self.pipe.said()).get("event") == "reach":
            await self._answer(said)
        return said

    async def _answer(self, said: dict[str, Any]) -> None:
        guard = self.egress or Egress(())
        order = await asyncio.to_thread(judged, guard, said.get("url"))
        await self.pipe.give(json.dumps(order).encode() + b"\n")


class WorkerHost(Protocol):
    """Whoever can start workers at a place: this machine, or the gateway that sits there."""

    def started(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AbstractAsyncContextManager[Worker]:
        """Start a worker for one disk at one place; on leaving, it and all it started are gone.

        A worker that copies gets the file of ``journal``, which stays where the worker runs until it is
        forgotten; without a name, one that goes with the worker. One that receives may use and add to the
        content kept there under the name ``stock``, if there is one, and then read the images that are
        ``published`` and can be reached there. One that inspects reads ``published`` as the guest's further
        disks. Raise Refused when it may not be started there, Unavailable when nobody can start it now.
        """
        ...

    async def forget(self, run: str) -> None:
        """Remove the journals of ``run``, wherever they can be reached now."""
        ...
