"""The tickets that partners were given, and what each side makes of one that the other gave.

A partner holds one ticket for each copy: the newest. It may present it a few times, because whoever dials
may have to change; each time the worker before is ended first.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.model.artifact import DiskRef, Ticket, Way
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents
from crossport.transfer.journals import shelf
from crossport.transfer.partner.reference import PARTNER, opaque

__all__ = ["STARTS_MAX", "Asked", "Given", "Tickets", "taken"]

STARTS_MAX = 4
"""How often one ticket starts a worker: each end dials once, and one answer may be lost in between."""
TICKETS_MAX = 4096
"""Tickets that one partner holds at once."""
_KIND = "partner-ticket"
_LONGEST = 300
_REMEDY = "Nothing: the run goes on with a new ticket. If it lasts, ask the partner's operator."


@record()
class Given:
    """A ticket that a partner was given, in this site's words. ``tenant`` and ``run`` are the partner's."""

    partner: str
    ticket: Ticket
    tenant: str
    run: str
    starts: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a partner was asked for a ticket of, in the words of the site that asked."""

    tenant: str
    run: str
    epoch: int
    artifact: str
    way: Way
    ref: DiskRef


class Tickets:
    """The tickets of one site's disks that partners hold, kept in the site's documents."""

    def __init__(self, documents: Callable[[], Documents], clock: Clock) -> None:
        """``documents`` is asked at each use."""
        self._documents = documents
        self._clock = clock

    async def give(self, partner: str, ticket: Ticket, *, tenant: str, run: str) -> Ticket:
        """Keep a ticket of this site and return what ``partner`` may see of it, in its own words.

        It replaces the one that the partner held for the same copy. Raise Refused (``transfer.ticket.old``)
        when that was of a higher epoch, Unavailable (``partner.tickets.many``) when it holds too many.
        """
        key = _key(partner, ticket)
        await self._make_room(partner, key)
        former = await self._held(key)
        if former is not None and former.value.ticket.epoch > ticket.epoch:
            raise errors.Refused(
                "transfer.ticket.old",
                f"Epoch {former.value.ticket.epoch} of this run has begun; this is {ticket.epoch}.",
                remedy="Another process continues this run. Leave it to that one.",
            )
        given = Given(partner=partner, ticket=ticket, tenant=tenant, run=run)
        await self._put(key, given, former.generation if former else 0)
        return _shown(given, f"{key.partition('/')[2]}.{ticket.id}")

    async def admit(self, partner: str, word: str, way: Way) -> Given:
        """Return the ticket that ``partner`` presents to start a worker; each start is counted.

        Raise Refused: ``transfer.ticket.unknown`` for one that it does not hold (any more),
        ``transfer.ticket.way``, ``transfer.ticket.expired``, ``transfer.ticket.replayed``.
        """
        copy, _, id_ = word.rpartition(".")
        held = await self._held(f"{partner}/{copy}")
        if held is None or not secrets.compare_digest(held.value.ticket.id.encode(), id_.encode()):
            raise errors.Refused(
                "transfer.ticket.unknown", f"{partner} holds no such ticket.", remedy=_REMEDY
            )
        ticket = held.value.ticket
        if ticket.way is not way:
            raise errors.Refused(
                "transfer.ticket.way", f"Ticket {ticket.id} is not one to {way}.", remedy=_REMEDY
            )
        if ticket.expires <= self._clock.wall():
            raise errors.Refused(
                "transfer.ticket.expired", f"Ticket {ticket.id} has expired.", remedy=_REMEDY
            )
        if held.value.starts >= STARTS_MAX:
            raise errors.Refused(
                "transfer.ticket.replayed",
                f"Ticket {ticket.id} has started {STARTS_MAX} workers.",
                remedy=_REMEDY,
            )
        counted = replace(held.value, starts=held.value.starts + 1)
        await self._put(held.key, counted, held.generation)
        return counted

    async def forget(self, run: str) -> None:
        """Let no ticket of this site's ``run`` count any more."""
        await self._remove("", lambda given: given.ticket.run == run)

    async def _make_room(self, partner: str, key: str) -> None:
        now = self._clock.wall()
        left = await self._remove(f"{partner}/", lambda given: given.ticket.expires <= now)
        if len(left - {key}) >= TICKETS_MAX:
            raise errors.Unavailable(
                "partner.tickets.many",
                f"{partner} holds {TICKETS_MAX} tickets.",
                remedy="End runs that do not go on; tickets of a run that ended count no more.",
            )

    async def _remove(self, prefix: str, unwanted: Callable[[Given], bool]) -> set[str]:
        """Remove tickets; return the keys of those that are left."""
        documents, after, left = self._documents(), "", set[str]()
        while batch := await documents.list(_KIND, Given, prefix=prefix, after=after):
            for one in batch:
                if unwanted(one.value):
                    await documents.delete(_KIND, one.key)
                else:
                    left.add(one.key)
            after = batch[-1].key
        return left

    async def _put(self, key: str, given: Given, generation: int) -> None:
        try:
            await self._documents().put(_KIND, key, given, generation=generation)
        except errors.Conflict as error:
            raise errors.Unavailable(
                "transfer.ticket.busy",
                f"Ticket {given.ticket.id} is being used at this moment.",
                remedy=errors.TRIED_AGAIN,
            ) from error

    async def _held(self, key: str) -> Document[Given] | None:
        try:
            return await self._documents().fetch(_KIND, key, Given)
        except errors.NotFound:
            return None


def taken(partner: str, told: Ticket, asked: Asked) -> Ticket:
    """Return a ticket that ``partner`` gave as this site uses it: for a worker of that partner and no other.

    What it says of disks or places of this site is not believed. Raise Refused
    (``transfer.ticket.foreign``) when it is not what was ``asked`` for.
    """
    said = (told.tenant, told.run, told.epoch, told.artifact, told.way, told.ref.size)
    if told.ref.kind != PARTNER or said != (
        *(asked.tenant, asked.run, asked.epoch, asked.artifact, asked.way, asked.ref.size),
    ):
        raise errors.Refused(
            "transfer.ticket.foreign",
            f"{partner} gave another ticket than it was asked for.",
            remedy="Tell the partner's operator; nothing was copied.",
        )
    place = replace(told.place, namespace="", tenant=asked.tenant, site=partner)
    ref = DiskRef(kind=PARTNER, locator=told.ref.locator, size=told.ref.size, identity=told.ref.identity)
    unopened = "".join(letter for letter in told.unopened[:_LONGEST] if letter.isprintable())
    return replace(told, ref=ref, place=place, published=(), unopened=unopened, heat=(), defers=False)


def _shown(given: Given, word: str) -> Ticket:
    ticket = given.ticket
    ref = DiskRef(kind=PARTNER, locator=word, size=ticket.ref.size, identity=opaque(ticket.ref.identity))
    return replace(
        ticket,
        tenant=given.tenant,
        run=given.run,
        ref=ref,
        place=replace(ticket.place, namespace="", tenant=given.tenant),
        published=(),
    )


def _key(partner: str, ticket: Ticket) -> str:
    return f"{partner}/{shelf(f'{ticket.tenant}/{ticket.run}/{ticket.artifact}/{ticket.way}')}"
