"""Both ends of a run for whoever has to decide about it, each asked where it is: here, or at a partner's.

A partner that does not answer has still signed what it stated, and that is gone by.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from crossport import errors
from crossport.migration.end import Ends, Hold, Landing, settled
from crossport.migration.partner.notary import Evidence
from crossport.migration.permit import SourceState, TargetState
from crossport.migration.resolve import said
from crossport.migration.standing import Standing, Standings
from crossport.model.name import parted
from crossport.model.permit import StatementKind
from crossport.model.run import Created, MigrationRequest
from crossport.model.vm import VM

__all__ = ["BothEnds", "FarEnds", "Look"]


class FarEnds(Protocol):
    """Who asks partners, and keeps what they have signed."""

    async def standing(self, tenant: str, run: str, cloud: str, vm: str) -> Standing:
        """Return how the end of ``run`` at ``cloud`` (``beta@south``) stands; with ``vm`` the source's."""
        ...

    async def evidence(self, run: str) -> tuple[Evidence, ...]:
        """Return what both sides have signed for one another."""
        ...

    async def forget(self, run: str) -> None:
        """Drop the evidence of a run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Both ends at one moment; ``words`` tell a person what they have stated."""

    hold: Hold | None
    landing: Landing
    ledger: tuple[Created, ...]
    source_vm: VM | None
    target_vm: VM | None
    words: tuple[str, ...]


class BothEnds:
    """Looks at runs of this site. Without ``far`` it has no partners."""

    def __init__(self, ends: Callable[[], Ends], here: Standings, far: FarEnds | None) -> None:
        self._ends = ends
        self._here = here
        self._far = far

    async def look(self, tenant: str, request: MigrationRequest, run: str) -> Look:
        """Return both ends as they answer now."""
        told = await self._evidence(run)
        source = await self._source(tenant, request, run, told)
        target = await self._target(tenant, request, run, told)
        why = (
            *((f"source {request.source}: now {source.why}",) if source.why else ()),
            *((f"target {request.target}: now {target.why}",) if target.why else ()),
        )
        who = tuple(
            f"{end}: tenant {tenant} of this site is tenant {known.tenant} there"
            for end, known in ((f"source {request.source}", source), (f"target {request.target}", target))
            if known.tenant
        )
        return Look(
            hold=source.hold,
            landing=target.landing,
            ledger=(*source.ledger, *target.ledger),
            source_vm=source.vm,
            target_vm=target.vm,
            words=(*who, *said(source.hold, target.landing), *map(_words, told), *why),
        )

    async def settled(self, request: MigrationRequest, run: str) -> bool:
        """Say whether one of both ends is the VM, by what is kept here; nobody is asked."""
        told = await self._evidence(run)
        hold, landing = await self._ends().hold(run), await self._ends().landing(run)
        if site := parted(request.source)[1]:
            hold = _hold(told, site, request.source)
        if site := parted(request.target)[1]:
            landing = _landing(told, site, request.target)
        return settled(hold, landing)

    async def forget(self, run: str) -> None:
        """Drop what is kept of both ends."""
        await self._ends().forget(run)
        if self._far is not None:
            await self._far.forget(run)

    async def _evidence(self, run: str) -> tuple[Evidence, ...]:
        return await self._far.evidence(run) if self._far is not None else ()

    async def _source(
        self, tenant: str, request: MigrationRequest, run: str, told: tuple[Evidence, ...]
    ) -> Standing:
        if not (site := parted(request.source)[1]):
            return await self._here.source(tenant, run, request.source, request.vm)
        return await self._asked(
            tenant, run, (request.source, request.vm), Standing(hold=_hold(told, site, request.source))
        )

    async def _target(
        self, tenant: str, request: MigrationRequest, run: str, told: tuple[Evidence, ...]
    ) -> Standing:
        if not (site := parted(request.target)[1]):
            return await self._here.target(tenant, run, request.target)
        return await self._asked(
            tenant, run, (request.target, ""), Standing(landing=_landing(told, site, request.target))
        )

    async def _asked(self, tenant: str, run: str, where: tuple[str, str], known: Standing) -> Standing:
        """Return what the partner says of its end, or what is ``known`` of it when it does not answer."""
        if self._far is None:
            return replace(known, why="this site has no partners")
        cloud, vm = where
        try:
            return await self._far.standing(tenant, run, cloud, vm)
        except errors.Error as error:
            return replace(known, why=error.text)


def _words(told: Evidence) -> str:
    one = told.statement
    where = f"to {told.partner}" if one.site != told.partner else "to this site"
    what = f"{one.kind} ({one.vm or 'no VM'}, epoch {one.epoch})"
    return f"{one.site} {where}, signed with key {told.signed.key[:16]}: {what}"


def _kinds(told: tuple[Evidence, ...], site: str) -> dict[StatementKind, Evidence]:
    return {one.statement.kind: one for one in told if one.statement.site == site}


def _hold(told: tuple[Evidence, ...], site: str, cloud: str) -> Hold | None:
    """Return the source's end as far as its site has signed it."""
    kinds = _kinds(told, site)
    order = (
        (StatementKind.RELEASED, SourceState.RELEASED),
        (StatementKind.START_PERMITTED, SourceState.COMMITTED),
        (StatementKind.NO_PERMIT, SourceState.WITHDRAWN),
        (StatementKind.STOPPED_AND_FENCED, SourceState.HELD),
    )
    state = next((state for kind, state in order if kind in kinds), None)
    if state is None:
        return None
    held = kinds.get(StatementKind.STOPPED_AND_FENCED)
    return Hold(
        cloud=cloud,
        vm=held.statement.vm if held else "",
        state=state,
        fence=held.statement.fence if held else Hold().fence,
        returned=state is SourceState.RELEASED,
    )


def _landing(told: tuple[Evidence, ...], site: str, cloud: str) -> Landing:
    """Return the target's end as far as its site has signed it."""
    kinds = _kinds(told, site)
    gone = kinds.keys() & {StatementKind.NEVER_STARTED, StatementKind.STOPPED_AND_FENCED}
    opened = StatementKind.OPENED in kinds
    if gone:
        state = TargetState.GONE
    elif opened:
        state = TargetState.OPEN
    else:
        state = TargetState.QUARANTINED if StatementKind.PREPARED in kinds else TargetState.EMPTY
    verified = bool(kinds.keys() & {StatementKind.PREPARED, StatementKind.OPENED})
    return Landing(cloud=cloud if kinds else "", state=state, verified=verified, opened=opened)
