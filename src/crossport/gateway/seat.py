"""Which tickets a gateway obeys: those of its own seat, of the newest epoch, each between the same two ends.

The site checks them too. A gateway checks again, because what it writes cannot be taken back.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from crossport import errors
from crossport.model.artifact import Ticket
from crossport.model.artifact import Way as Direction
from crossport.transfer import noise, ticket
from crossport.transfer.host import Way
from crossport.transfer.job import DigestJob, Job

__all__ = ["Copy", "Seat", "Tickets"]

Copy: TypeAlias = tuple[str, str, str, str]
"""What of there is one at a time at a gateway: tenant, run, artifact, way."""
_DIRECTION: dict[Way, Direction] = {"send": Direction.READ, "receive": Direction.WRITE}
_PROBES = (noise.NOISE, noise.VOID)
_REMEDY = "Ask the site for new tickets: the run continues with them."


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a gateway sits: in a reserved subnet of a tenant's cloud."""

    tenant: str
    cloud: str
    subnet: str


@dataclass(slots=True)
class _Used:
    ends: tuple[Any, ...]
    expires: float


class Tickets:
    """What one gateway was shown so far."""

    def __init__(self) -> None:
        self._highest: dict[Copy, tuple[int, float]] = {}
        self._used: dict[str, _Used] = {}

    def admit(self, way: Way, line: bytes, seat: Seat, *, now: float) -> Copy | None:
        """Return which copy the job in ``line`` is of, None where there may be many.

        Raise Refused unless it may run here now, Broken when it is no job.
        """
        try:
            if way == "digest":
                DigestJob.of(line)
                return None
            job = Job.of(line)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise errors.Broken("gateway.job.malformed", "The site sent what is no job.") from error
        shown = job.ticket
        ticket.check(shown, _DIRECTION[way], size=job.hello.size, now=now)
        if shown.ref.kind in _PROBES:
            return None  # it reads and writes nothing
        _check_seat(shown, seat)
        self._forget_expired(now)
        return self._remembered(shown, (shown.tenant, shown.run, shown.artifact, shown.way.value))

    def _remembered(self, shown: Ticket, copy: Copy) -> Copy:
        epoch, expires = self._highest.get(copy, (shown.epoch, 0.0))
        if shown.epoch < epoch:
            raise errors.Refused(
                "transfer.ticket.old",
                f"Ticket {shown.id} is of epoch {shown.epoch}; epoch {epoch} has begun.",
                remedy="Another process continues this run. Leave it to that one.",
            )
        ends = (copy, shown.epoch, shown.ref, shown.place)
        used = self._used.get(shown.nonce)
        if used is not None and used.ends != ends:
            raise errors.Refused(
                "transfer.ticket.replayed",
                f"Ticket {shown.id} was used between other ends before.",
                remedy=_REMEDY,
            )
        self._highest[copy] = (shown.epoch, max(expires, shown.expires))
        self._used[shown.nonce] = _Used(ends, shown.expires)
        return copy

    def _forget_expired(self, now: float) -> None:
        self._used = {nonce: used for nonce, used in self._used.items() if used.expires > now}
        self._highest = {copy: known for copy, known in self._highest.items() if known[1] > now}


def _check_seat(shown: Ticket, seat: Seat) -> None:
    place = shown.place
    if (shown.tenant, place.tenant, place.cloud, place.subnet) != (
        seat.tenant,
        seat.tenant,
        seat.cloud,
        seat.subnet,
    ):
        raise errors.Refused(
            "transfer.ticket.elsewhere",
            f"Ticket {shown.id} is for {place.subnet} of {place.cloud}, not for this gateway.",
            remedy=_REMEDY,
        )
