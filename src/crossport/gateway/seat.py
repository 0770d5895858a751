"""Which tickets a gateway obeys: those of its own seat, of the newest epoch, each between the same two ends.

The site checks them too. A gateway checks again, because what it writes cannot be taken back.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from crossport import errors
from crossport.gateway.ticket_log import Shown, TicketLog
from crossport.model import codec
from crossport.model.artifact import Ticket
from crossport.model.artifact import Way as Direction
from crossport.transfer import noise, ticket
from crossport.transfer.frame import Hello
from crossport.transfer.host import Way
from crossport.transfer.job import DigestJob, Job

__all__ = ["Copy", "Seat", "Tickets"]

Copy: TypeAlias = tuple[str, str, str, str]
"""What of there is one at a time at a gateway: tenant, run, artifact, way."""
_DIRECTION: dict[Way, Direction] = {"send": Direction.READ, "receive": Direction.WRITE}
TICKETS_MAX = 1 << 16
"""Tickets that a gateway remembers at most; a copy of a disk needs one until it expires."""
_LONGEST = 256
_PROBES = (noise.NOISE, noise.VOID)
_REMEDY = "Ask the site for new tickets: the run continues with them."


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a gateway sits: in a reserved subnet of a tenant's cloud."""

    tenant: str
    cloud: str
    subnet: str


class Tickets:
    """What one gateway was shown so far, and before it was started anew."""

    def __init__(self, log: TicketLog | None = None) -> None:
        """Remember in ``log``; without one until the process ends. Raise Broken for a damaged log."""
        self._log = log
        self._highest: dict[Copy, Shown] = {}
        self._used: dict[str, Shown] = {}
        for shown in log.read() if log else ():
            self._note(shown)

    def admit(self, way: Way, line: bytes, seat: Seat, *, now: float) -> Copy | None:
        """Return which copy the job in ``line`` is of, None where there may be many.

        Raise Refused unless it may run here now, Broken when it is no job.
        """
        try:
            if way == "digest":
                DigestJob.of(line)
                return None
            job = Job.of(line)
            shown = codec.from_plain(asdict(job.ticket), Ticket)
        except (ValueError, TypeError, KeyError, RecursionError, errors.Invalid) as error:
            raise errors.Broken(
                "gateway.job.malformed", "The site sent what is no job.", remedy=errors.SAME_RELEASE
            ) from error
        _check_form(shown)
        ticket.check(shown, _DIRECTION[way], size=job.hello.size, now=now)
        if shown.ref.kind in _PROBES:
            return None  # it reads and writes nothing
        _check_seat(shown, seat)
        _check_hello(shown, job.hello)
        copy = (shown.tenant, shown.run, shown.artifact, shown.way.value)
        self._forget_expired(now)
        self._check(shown, copy)
        self._remember(shown, copy)
        return copy

    def _check(self, shown: Ticket, copy: Copy) -> None:
        highest = self._highest.get(copy)
        if highest is not None and shown.epoch < highest.epoch:
            raise errors.Refused(
                "transfer.ticket.old",
                f"Ticket {shown.id} is of epoch {shown.epoch}; epoch {highest.epoch} has begun.",
                remedy="Another process continues this run. Leave it to that one.",
            )
        used = self._used.get(shown.nonce)
        if used is not None and (used.copy, used.epoch, used.ends) != (copy, shown.epoch, _ends(shown)):
            raise errors.Refused(
                "transfer.ticket.replayed",
                f"Ticket {shown.id} was used between other ends before.",
                remedy=_REMEDY,
            )

    def _remember(self, ticket: Ticket, copy: Copy) -> None:
        if ticket.nonce in self._used:
            return
        if len(self._used) >= TICKETS_MAX:
            raise errors.Unavailable(
                "gateway.tickets.many",
                f"This gateway was shown {TICKETS_MAX} tickets that have not expired.",
                remedy="Spread the copies over more gateways, or wait until older tickets expire.",
            )
        shown = Shown(copy, ticket.epoch, ticket.nonce, _ends(ticket), ticket.expires)
        if self._log is not None:
            self._log.add(shown)
        self._note(shown)

    def _note(self, shown: Shown) -> None:
        former = self._highest.get(shown.copy, shown)
        highest = max(former, shown, key=lambda one: one.epoch)
        # For as long as a ticket of a lower epoch could be shown.
        self._highest[shown.copy] = replace(highest, expires=max(former.expires, shown.expires))
        self._used[shown.nonce] = shown

    def _forget_expired(self, now: float) -> None:
        self._used = {nonce: used for nonce, used in self._used.items() if used.expires > now}
        self._highest = {copy: known for copy, known in self._highest.items() if known.expires > now}
        if self._log is not None:
            self._log.keep_only({*self._used.values(), *self._highest.values()})


def _check_hello(shown: Ticket, hello: Hello) -> None:
    said = (hello.tenant, hello.run, hello.artifact, hello.epoch)
    if said != (shown.tenant, shown.run, shown.artifact, shown.epoch):
        raise errors.Refused(
            "transfer.ticket.foreign",
            f"Ticket {shown.id} is not for the copy that the job is of.",
            remedy=_REMEDY,
        )


def _check_form(shown: Ticket) -> None:
    words = (shown.id, shown.tenant, shown.run, shown.artifact, shown.nonce)
    if max(map(len, words)) > _LONGEST or not math.isfinite(shown.expires):
        raise errors.Broken(
            "gateway.job.malformed", "The site sent a ticket that nobody gives.", remedy=errors.SAME_RELEASE
        )


def _ends(shown: Ticket) -> str:
    """Return a digest of the ends: what is kept of a ticket does not tell where disks are."""
    ends = json.dumps([asdict(shown.ref), asdict(shown.place)], sort_keys=True)
    return hashlib.sha256(ends.encode()).hexdigest()


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
