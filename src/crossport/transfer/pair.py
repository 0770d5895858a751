"""Two workers that are to copy from one to the other: each learns its job and its peer.

Each has a certificate made for this copy alone; one listens first, so that the other can be told where.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from crossport import errors, merkle
from crossport.model import codec
from crossport.model.artifact import Ticket
from crossport.model.signed_claim import SignedClaim
from crossport.transfer import peer_address
from crossport.transfer.egress import Guard
from crossport.transfer.frame import LEAST_VERSION, Hello
from crossport.transfer.host import Worker
from crossport.transfer.job import CONNECT_S, End, Job
from crossport.transfer.manner import Manner
from crossport.transfer.meter import number

__all__ = ["Settings", "both", "claimed", "introduce", "root", "tells_root"]

# After one end failed the other notices within a moment; what it says may be the cause.
_GRACE_S = 3.0
# Said by an end that only suffers from what happened at the other.
_CONSEQUENCES = ("transfer.peer.failed", "transfer.peer.gone", "transfer.peer.absent", "transfer.link.")


@dataclass(frozen=True, slots=True)
class Settings:
    """How copies are made. A disk's server or a peer that is silent for so many seconds is given up.

    ``connect_s`` is how long one end dials the other for the first time. ``egress`` says what of the web may
    be read; without it nothing.
    """

    chunk_size: int = merkle.CHUNK
    disk_timeout_s: float = 60.0
    idle_s: float = 10.0
    connect_s: float = CONNECT_S
    manner: Manner = field(default_factory=Manner)
    egress: Guard | None = None


async def introduce(
    settings: Settings,
    tickets: tuple[Ticket, Ticket],
    workers: tuple[Worker, Worker],
    names_key: bytes = b"",
    *,
    sender_dials: bool = True,
) -> None:
    """Give the sender and the receiver, in this order, their jobs. Raise what the one that listens tells.

    Refused (``transfer.peer.address``) when a partner's worker listens where it must not be dialled.
    ``names_key`` is that of the names; empty: the receiver makes one.
    """
    read = tickets[0]
    hello = Hello(
        LEAST_VERSION, read.tenant, read.run, read.artifact, read.epoch, read.ref.size, settings.chunk_size
    )

    def line(ticket: Ticket, peer: Worker, port: int, at: str) -> bytes:
        end = End(peer.certificate, at, port)
        bounds = (settings.disk_timeout_s, settings.idle_s, settings.connect_s)
        return Job(ticket, hello, end, settings.manner, *bounds, names_key.hex()).line()

    ends = list(zip(tickets, workers, strict=True))
    (dials, dialler), (listens, listener) = ends if sender_dials else reversed(ends)
    at = listens.place.address
    await listener.give(line(listens, dialler, 0, at))
    port = number(await listener.event("listening"), "port")
    if not 0 < port < 1 << 16:
        raise errors.Broken(
            "transfer.worker.malformed", f"A worker told no sound port: {port}.", remedy=errors.SAME_RELEASE
        )
    if listens.place.site:
        peer_address.check(at, port, dials.place.address)
    await dialler.give(line(dials, listener, port, at))


async def both(
    sending: Coroutine[Any, Any, Any], receiving: Coroutine[Any, Any, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what both ends say last; when one fails, raise the cause rather than its consequence."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(receiving)]
    try:
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        first = [task.exception() for task in done if task.exception() is not None]
        if waiting and all(_is_consequence(error) for error in first if error is not None):
            late, _ = await asyncio.wait(waiting, timeout=_GRACE_S)
            done |= late
        failures = [error for task in tasks if task in done and (error := task.exception()) is not None]
        if failures:
            raise min(failures, key=_is_consequence)
        return tasks[0].result(), tasks[1].result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def root(said: dict[str, Any]) -> str:
    """Return the root that a worker told, as hex; raise Broken for what is none."""
    if not tells_root(said):
        raise errors.Broken(
            "transfer.worker.malformed", "A worker told no sound root.", remedy=errors.SAME_RELEASE
        )
    return said["root"]


def tells_root(said: dict[str, Any]) -> bool:
    """Say whether a worker told a root."""
    told = said.get("root")
    return isinstance(told, str) and len(told) == 64 and set(told) <= set("0123456789abcdef")


def claimed(said: dict[str, Any]) -> SignedClaim | None:
    """Return what the starter of a worker claims of it; None: nothing. Raise Invalid for what is no claim."""
    return codec.from_plain(said["claim"], SignedClaim) if "claim" in said else None


def _is_consequence(failure: BaseException) -> bool:
    return isinstance(failure, errors.Error) and failure.code.startswith(_CONSEQUENCES)
