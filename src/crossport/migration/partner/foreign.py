"""Runs that partners execute and whose one end is here: who may do what in them, kept durably.

A run is known here under a word of our own, so that the runs of two sites never meet. Its end, tenant, cloud
and VM are those of the first call, and a lower epoch is refused for good. Once it was cleaned up, nothing is
made for it any more, however late a call arrives.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from crossport import errors
from crossport.model.partner import Partner
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents

__all__ = ["Entry", "Foreign", "ForeignRun", "RunEnd", "foreign_id"]

KIND = "foreign-run"
_ATTEMPTS = 10


class RunEnd(StrEnum):
    """Which end of a run is here."""

    NONE = ""
    SOURCE = "source"
    TARGET = "target"


@record()
class ForeignRun:
    """What is known of one. ``id`` is our word, ``run`` the partner's; ``vm`` is ours, when one is known.

    ``theirs`` is the partner's tenant, and ``tenant`` the one it acts as. ``ended`` is when it was first
    cleaned up. Times are Unix seconds.
    """

    id: str
    partner: str
    run: str
    theirs: str
    tenant: str
    cloud: str
    begun: float
    end: RunEnd = RunEnd.NONE
    epoch: int = 0
    vm: str = ""
    closed: bool = False
    ended: float = 0.0


def foreign_id(partner: str, run: str) -> str:
    """Return our word for a partner's run: of a form that none of ours has, and not to be chosen by it."""
    digest = hashlib.sha256(f"{partner} {run}".encode()).hexdigest()
    return f"p-{digest[:24]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one call is about. ``makes``: something new is made for the run."""

    run: str
    epoch: int
    theirs: str
    tenant: str
    cloud: str
    end: RunEnd
    vm: str = ""
    makes: bool = False


class Foreign:
    """The site's foreign runs."""

    def __init__(self, documents: Callable[[], Documents], clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def enter(self, partner: Partner, entry: Entry) -> ForeignRun:
        """Return the run of a call, new at the first one; raise Refused if it is not for it."""
        first = ForeignRun(
            id=foreign_id(partner.name, entry.run),
            partner=partner.name,
            run=entry.run,
            theirs=entry.theirs,
            tenant=entry.tenant,
            cloud=entry.cloud,
            begun=self._clock.wall(),
        )
        return await self._change(first.id, first, lambda known: _entered(known, entry))

    async def became(self, run: str, vm: str) -> None:
        """Note which VM of ours the run has."""
        await self._change(run, None, lambda known: replace(known, vm=vm))

    async def close(self, run: str) -> ForeignRun:
        """Make nothing for the run any more, and return it."""
        now = self._clock.wall()
        return await self._change(
            run, None, lambda known: replace(known, closed=True, ended=known.ended or now)
        )

    async def forget(self, run: str) -> None:
        """Keep nothing of a run; it may be called again."""
        await self._documents().delete(KIND, run)

    async def runs(self, partner: str = "") -> tuple[ForeignRun, ...]:
        """Return all, or those of one partner, the latest first."""
        found: list[ForeignRun] = []
        after = ""
        while page := await self._documents().list(KIND, ForeignRun, after=after):
            found += [one.value for one in page if partner in {"", one.value.partner}]
            after = page[-1].key
        return tuple(sorted(found, key=lambda one: one.begun, reverse=True))

    async def find(self, run: str) -> ForeignRun | None:
        """Return one by our word for it, None when there is none."""
        try:
            return (await self._documents().fetch(KIND, run, ForeignRun)).value
        except errors.NotFound:
            return None

    async def _change(
        self, run: str, first: ForeignRun | None, change: Callable[[ForeignRun], ForeignRun]
    ) -> ForeignRun:
        for _ in range(_ATTEMPTS):
            try:
                document = await self._documents().fetch(KIND, run, ForeignRun)
                known, generation = document.value, document.generation
            except errors.NotFound:
                if first is None:
                    raise
                known, generation = first, 0
            value = change(known)
            if value == known and generation:
                return value
            try:
                await self._documents().put(KIND, run, value, generation=generation)
            except errors.Conflict:
                continue
            return value
        raise errors.Unavailable(
            "partner.run.contended", f"Run {run} is being changed all the time.", remedy=errors.TRIED_AGAIN
        )


def _entered(known: ForeignRun, entry: Entry) -> ForeignRun:
    if entry.epoch < known.epoch:
        raise errors.Refused(
            "message.epoch.old",
            f"Epoch {entry.epoch} of run {entry.run} is over; {known.epoch} is in force.",
            remedy="Nothing was done. Whoever executes the run now goes on with it.",
        )
    ours = (known.theirs, known.tenant, known.cloud)
    if ours != (entry.theirs, entry.tenant, entry.cloud) or _differs(known.end, entry.end):
        raise _other(known, "another tenant, cloud or end than it began with")
    if _differs(known.vm, entry.vm):
        raise _other(known, f"VM {entry.vm}, which is not its own")
    if known.closed and entry.makes:
        raise errors.Refused(
            "partner.run.closed",
            f"Run {entry.run} was cleaned up here: nothing is made for it any more.",
            remedy="Begin a new run.",
        )
    return replace(
        known, epoch=entry.epoch, end=entry.end or known.end, vm=known.vm or (entry.vm if entry.makes else "")
    )


def _differs(known: str, said: str) -> bool:
    return bool(known and said and known != said)


def _other(known: ForeignRun, what: str) -> errors.Refused:
    return errors.Refused(
        "partner.run.other",
        f"Run {known.run} of {known.partner} speaks of {what}.",
        remedy="Nothing was done. Find out at that site who asked for this.",
    )
