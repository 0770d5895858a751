"""Which tickets may be used together, and how often.

Two tickets belong together when they name one tenant, run, artifact and epoch. The same two ends may present
them again; a higher epoch ends them; the same nonce between other ends is a replay. What was seen is
kept in memory until it expires: another process of the site comes with a higher epoch, and the clouds cut off
the writers of lower ones.
"""

from dataclasses import dataclass
from typing import TypeAlias

from crossport import errors
from crossport.model.artifact import Ticket, Way

__all__ = ["Grants", "check"]

_REMEDY = "Ask the site for new tickets: the run continues with them."
_Ends: TypeAlias = tuple[object, ...]


def check(ticket: Ticket, way: Way, *, size: int, now: float) -> None:
    """Raise Refused unless ``ticket`` lets ``size`` bytes go this ``way`` at Unix time ``now``."""
    if ticket.way is not way:
        raise errors.Refused(
            "transfer.ticket.way", f"Ticket {ticket.id} is not one to {way}.", remedy=_REMEDY
        )
    if ticket.expires <= now:
        raise errors.Refused("transfer.ticket.expired", f"Ticket {ticket.id} has expired.", remedy=_REMEDY)
    if size > ticket.byte_budget:
        raise errors.Refused(
            "transfer.ticket.budget",
            f"Ticket {ticket.id} is for {ticket.byte_budget} bytes, the disk has {size}.",
            remedy=_REMEDY,
        )


@dataclass(slots=True)
class _Highest:
    epoch: int
    expires: float


@dataclass(slots=True)
class _Used:
    ends: _Ends
    expires: float


class Grants:
    """What was presented so far."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], _Highest] = {}
        self._used: dict[str, _Used] = {}

    def admit(self, read: Ticket, write: Ticket, *, now: float) -> None:
        """Raise Refused unless these two may be used together now; remember that they were.

        Raise Invalid when the target is smaller than the source.
        """
        check(read, Way.READ, size=read.ref.size, now=now)
        check(write, Way.WRITE, size=read.ref.size, now=now)
        if _subject(read) != _subject(write):
            raise errors.Refused(
                "transfer.ticket.foreign",
                f"Tickets {read.id} and {write.id} do not belong together.",
                remedy=_REMEDY,
            )
        self._forget_expired(now)
        self._check_epoch(read)
        ends = (*_subject(read), read.place, write.place, read.ref, write.ref)
        for ticket in (read, write):
            used = self._used.get(ticket.nonce)
            if used is not None and used.ends != ends:
                raise errors.Refused(
                    "transfer.ticket.replayed",
                    f"Ticket {ticket.id} was used between other ends before.",
                    remedy=_REMEDY,
                )
        if write.ref.size < read.ref.size:
            raise errors.Invalid(
                "transfer.target.small",
                f"The target holds {write.ref.size} bytes, the source {read.ref.size}.",
                remedy="Make the target at least as large as the source.",
            )
        self._remember(read, write, ends)

    def _check_epoch(self, read: Ticket) -> None:
        highest = self._highest.get((read.run, read.artifact))
        if highest is not None and read.epoch < highest.epoch:
            raise errors.Refused(
                "transfer.ticket.old",
                f"Ticket {read.id} is of epoch {read.epoch}; epoch {highest.epoch} has begun.",
                remedy="Another process continues this run. Leave it to that one.",
            )

    def _remember(self, read: Ticket, write: Ticket, ends: _Ends) -> None:
        highest = self._highest.setdefault((read.run, read.artifact), _Highest(read.epoch, 0.0))
        highest.epoch = read.epoch
        # After that every ticket of a lower epoch has most likely expired, too.
        highest.expires = max(highest.expires, read.expires, write.expires)
        for ticket in (read, write):
            self._used[ticket.nonce] = _Used(ends, ticket.expires)

    def _forget_expired(self, now: float) -> None:
        self._used = {nonce: used for nonce, used in self._used.items() if used.expires > now}
        self._highest = {key: highest for key, highest in self._highest.items() if highest.expires > now}


def _subject(ticket: Ticket) -> tuple[str, str, str, int]:
    return (ticket.tenant, ticket.run, ticket.artifact, ticket.epoch)
