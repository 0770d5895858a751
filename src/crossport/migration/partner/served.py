"""Partners' runs for the operator of this site: what stands here because of them, and an end to those that
their partner will never end.

What the start permit says holds for the operator, too: a source is brought back only while no permit was
given, and never once more; a copy that may be the only one is not removed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from crossport import errors
from crossport.migration.end import Ends, Hold, Landing
from crossport.migration.partner.foreign import Foreign, ForeignRun, RunEnd
from crossport.migration.partner.notary import Notary
from crossport.migration.partner.turn import Turns
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, TargetState
from crossport.model.partner_run import CleanRequest, PartnerRun, PartnerRunState
from crossport.model.permit import Statement, StatementKind
from crossport.model.run import Act, Created, LedgerState
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover
from crossport.spi.run import Ledger
from crossport.spi.site import Cleaned, Site
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.reference import References

__all__ = ["Served", "ServedParts"]

SOURCES = {
    SourceState.FREE: PartnerRunState.GOING_ON,
    SourceState.HELD: PartnerRunState.STOPPED,
    SourceState.WITHDRAWN: PartnerRunState.STOPPED,
    SourceState.RELEASED: PartnerRunState.RETURNED,
    SourceState.COMMITTED: PartnerRunState.RETAINED,
}
TARGETS = {
    TargetState.EMPTY: PartnerRunState.GOING_ON,
    TargetState.QUARANTINED: PartnerRunState.QUARANTINED,
    TargetState.OPEN: PartnerRunState.OPENED,
    TargetState.GONE: PartnerRunState.DISCARDED,
}
UNDECIDED = (PartnerRunState.STOPPED, PartnerRunState.QUARANTINED)
SETTLED = (LedgerState.REMOVED, LedgerState.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedParts:
    """What it works with. ``site`` returns our own site as a tenant has it; ``name`` is its name.

    ``documents`` and ``ledger`` are asked at each use.
    """

    name: str
    site: Callable[[str], Site]
    ends: Callable[[], Ends]
    ledger: Callable[[], Ledger]
    foreign: Foreign
    notary: Notary
    references: References
    tickets: Tickets
    mover: Mover
    turns: Turns
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Look:
    """A run with what stands here of it."""

    run: ForeignRun
    hold: Hold | None
    landing: Landing
    things: tuple[Created, ...]

    @property
    def state(self) -> PartnerRunState:
        if self.run.end is RunEnd.TARGET:
            return TARGETS[self.landing.state]
        if self.hold is None:
            return PartnerRunState.GOING_ON
        if self.hold.state is SourceState.RELEASED and self.hold.vm and not self.hold.returned:
            return PartnerRunState.STOPPED  # it was being brought back
        return SOURCES[self.hold.state]

    @property
    def over(self) -> bool:
        return self.run.closed and self.state not in UNDECIDED


class Served:
    """A `crossport.spi.trust.PartnerRuns`."""

    def __init__(self, parts: ServedParts) -> None:
        self._parts = parts

    async def runs(self, partner: str = "", *, after: str = "", limit: int = 100) -> tuple[PartnerRun, ...]:
        """Return the latest first: all, or those of one partner."""
        known = await self._parts.foreign.runs(partner)
        begin = next((number for number, one in enumerate(known, 1) if one.id == after), 0)
        return tuple([_shown(await self._look(one)) for one in known[begin : begin + limit]])

    async def run(self, run: str) -> PartnerRun:
        """Return one by our word for it."""
        return _shown(await self._look(await self._known(run)))

    async def need_unused(self, tenant: str, cloud: str) -> None:
        """Raise Conflict ``cloud.in-use`` while a partner's run uses a cloud of the tenant."""
        for one in await self._parts.foreign.runs():
            if (one.tenant, one.cloud) == (tenant, cloud) and not (await self._look(one)).over:
                raise errors.Conflict(
                    "cloud.in-use",
                    f"Run {one.run} of {one.partner} uses {cloud}.",
                    field="cloud",
                    remedy="Wait until it is finished. If its site never ends it, the operator does: "
                    f"crossport trust clean {one.id}",
                )

    async def clean(self, run: str, request: CleanRequest) -> Cleaned:
        """Remove what a run left here and does not keep, and bring back a source that it holds."""
        known = await self._known(run)
        await self._parts.turns.end_reading(run)
        async with self._parts.turns.of(run):
            look = await self._look(known)
            if not look.over and not request.gone:
                raise _going_on(look)
            _need_decided(look, await self._stated(look))
            known = await self._parts.foreign.close(run)
            site, act = self._parts.site(known.tenant), Act(run=run, step="clean-served", epoch=known.epoch)
            if look.state is PartnerRunState.OPENED:
                await self._opened(look, site, act)
            elif known.end is RunEnd.TARGET:
                await self._parts.ends().target(run, TargetEvent.LOST)
            else:
                await self._brought_back(look, site, act)
            await self._parts.tickets.forget(run)
            await self._parts.references.forget(run)
            await self._parts.mover.forget(run)
            keep = look.state in (PartnerRunState.OPENED, PartnerRunState.RETAINED)
            return await site.clean(act, known.cloud, keep_vm=keep)

    async def forget_before(self, time: float) -> None:
        """Forget runs that were over before then, and of which nothing stands here any more."""
        for one in await self._parts.foreign.runs():
            if one.closed and one.ended < time and await self._is_done_with(await self._look(one)):
                await self._parts.notary.forget(one.id)
                await self._parts.ends().forget(one.id)
                await self._parts.ledger().forget(one.id)
                await self._parts.foreign.forget(one.id)

    async def _is_done_with(self, look: _Look) -> bool:
        if not look.over or any(one.state not in SETTLED for one in look.things):
            return False
        if look.state is PartnerRunState.RETAINED and look.hold:
            return not await self._stands(look.run, look.hold.vm)
        return look.state is not PartnerRunState.OPENED or look.landing.opened

    async def _stands(self, run: ForeignRun, vm: str) -> bool:
        """Say whether the cloud has the VM; one that does not answer has it, one that was removed has not."""
        try:
            return (await self._parts.site(run.tenant).describe(run.cloud, vm)).vm is not None
        except errors.NotFound:
            return False
        except errors.Error:
            return True

    async def _opened(self, look: _Look, site: Site, act: Act) -> None:
        """Open the copy's networks, if the partner's permit came and no more was done."""
        told = await self._parts.notary.evidence(look.run.id)
        permits = (one.statement for one in told if one.statement.kind is StatementKind.START_PERMITTED)
        if not look.landing.opened and (permit := next(permits, None)):
            await site.commit(act, look.run.cloud, look.run.vm, other=permit)

    async def _brought_back(self, look: _Look, site: Site, act: Act) -> None:
        """Withdraw the permit for good, then bring the source back as it was."""
        if look.hold is None or not look.hold.vm:
            return
        if look.state is PartnerRunState.GOING_ON:
            await self._parts.ends().source(look.run.id, SourceEvent.WITHDRAW)
        if look.state is PartnerRunState.STOPPED:
            await site.withdraw(act, look.run.cloud, look.hold.vm)
            await site.roll_back(act, look.run.cloud, look.hold.vm, other=self._operators_word(act))

    def _operators_word(self, act: Act) -> Statement:
        """Return in the operator's name what the partner will never state: that its copy does not run.

        Without a permit, of which there never will be one, no copy leaves its quarantine.
        """
        return Statement(
            kind=StatementKind.NEVER_STARTED,
            site=self._parts.name,
            run=act.run,
            vm="",
            epoch=act.epoch,
            made=self._parts.clock.wall(),
        )

    async def _stated(self, look: _Look) -> set[tuple[bool, StatementKind]]:
        """Return which statements crossed, each with whether it was this site's."""
        told = await self._parts.notary.evidence(look.run.id)
        return {(one.statement.site == self._parts.name, one.statement.kind) for one in told}

    async def _known(self, run: str) -> ForeignRun:
        found = await self._parts.foreign.find(run)
        if found is None:
            raise errors.NotFound(
                "partner.run.unknown",
                f"No partner has a run {run} here.",
                field="run",
                remedy="List them with: crossport trust runs",
            )
        return found

    async def _look(self, run: ForeignRun) -> _Look:
        ends = self._parts.ends()
        things = await self._parts.ledger().entries(run.id)
        return _Look(run, await ends.hold(run.id), await ends.landing(run.id), things)


def _going_on(look: _Look) -> errors.Conflict:
    run = look.run
    return errors.Conflict(
        "partner.run.going-on",
        f"{run.partner} may go on with its run {run.run}: it is {look.state}.",
        field="run",
        remedy=f"Let its operator end it there. If {run.partner} never will, say so: "
        f"crossport trust clean {run.id} --gone",
    )


def _need_decided(look: _Look, stated: set[tuple[bool, StatementKind]]) -> None:
    """Raise Refused where the source may have let its VM go, so that the copy here may be the only one."""
    permit_possible = (True, StatementKind.PREPARED) in stated
    withdrawn = (False, StatementKind.NO_PERMIT) in stated
    if look.state is PartnerRunState.QUARANTINED and permit_possible and not withdrawn:
        raise errors.Refused(
            "partner.run.last-copy",
            f"{look.run.partner} was told that the copy stands here, and may have let its own go: this may "
            "be the last one.",
            field="run",
            remedy=f"Find out from the operator of {look.run.partner} what became of its run {look.run.run}: "
            "its evidence names the decision. The copy is kept.",
        )


def _shown(look: _Look) -> PartnerRun:
    run = look.run
    return PartnerRun(
        id=run.id,
        partner=run.partner,
        run=run.run,
        theirs=run.theirs,
        tenant=run.tenant,
        cloud=run.cloud,
        end=run.end.value,
        vm=run.vm,
        state=look.state,
        over=look.over,
        begun=run.begun,
        ended=run.ended,
        stands=_stands(look),
    )


def _stands(look: _Look) -> tuple[str, ...]:
    """Return in words what is here because of a run."""
    words: list[str] = []
    if look.hold and look.state is PartnerRunState.STOPPED:
        words.append(f"VM {look.hold.vm} is off and fenced; it was {look.hold.was}")
    if look.hold and look.state is PartnerRunState.RETAINED:
        words.append(
            f"VM {look.hold.vm} is off, fenced and retained: its copy at {look.run.partner} is the VM"
        )
    reserved = look.state is PartnerRunState.GOING_ON and not look.run.closed
    if reserved and look.run.vm and look.run.end is RunEnd.SOURCE:
        words.append(f"VM {look.run.vm} is reserved for it")
    left = (one for one in look.things if one.state is not LedgerState.REMOVED)
    words += [f"{one.kind} {one.name} ({one.state})" for one in left]
    return tuple(words)
