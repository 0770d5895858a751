"""Looks several times a minute whether each run still has its right, and ends those that have not.

A run of this site is cancelled with ``grant.lost``: in the middle of a copy, a verification or a look into
the guest that ends, and after the source was stopped it is brought back. Of a partner's run the data streams
and what is read are ended here, and each call but those that lead back is refused. Whether a run of ours
still has its right at a partner is asked there. Behind the commit nothing is taken back: the run is finished,
and tells so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from crossport import errors
from crossport.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.end import Ends
from crossport.migration.grant import Trusted, late_finding, lost
from crossport.migration.grants import Grants
from crossport.migration.partner.abroad import Abroad
from crossport.migration.partner.foreign import Foreign
from crossport.migration.plans import MIGRATE
from crossport.model.audit import AuditEntry, AuditResult, Result
from crossport.model.grant import Loss, RunGrant
from crossport.model.name import parted
from crossport.model.run import RunRecord, RunState
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover

__all__ = ["GrantWatch", "WatchMeans"]

UNDER_WAY = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)
BEGINNING_S = 600.0
"""How long a grant may be there before its run is."""
ASK_S = 10.0
"""How long a partner may take to say how a run stands; it is asked again at the next look."""
GRACE_S = 20.0
"""How long data of a partner's run goes on to flow: its site asks meanwhile, and ends it with the reason."""
PRUNED_EVERY = 500
_NO_RIGHT = {
    "partner.tenant.none": Loss.TENANT,
    "partner.cloud.none": Loss.TENANT,
    "partner.revoked": Loss.PARTNER,
    "partner.unknown": Loss.PARTNER,
}
"""What is answered where nothing is known of the run, and nothing would be allowed."""

log: Any = structlog.get_logger("crossport.grants")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMeans:
    """What it takes. ``site`` is this site's name, ``trusted`` whom it believes now.

    ``interrupt`` ends what is read here for a partner's run.
    """

    site: str
    grants: Grants
    trusted: Callable[[], Awaitable[Trusted]]
    engine: Engine
    foreign: Foreign
    abroad: Abroad
    mover: Mover
    interrupt: Callable[[str], Awaitable[None]]
    clock: Clock


class GrantWatch:
    """One watch of one node. Several may watch the same site."""

    def __init__(self, means: WatchMeans) -> None:
        self._means = means
        self._woken = asyncio.Event()
        self._looks = 0
        means.grants.changed = self._woken.set
        means.grants.is_run = self._is_run

    async def watch(self, each_s: float) -> None:
        """Look every ``each_s``, and at once when a right was taken here; until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.look()
            except errors.Error as error:  # the next look finds what this one did not
                log.warning("grants.unseen", code=error.code, reason=error.text)
            await self._pause(each_s)

    async def _pause(self, each_s: float) -> None:
        waiting: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._woken.wait()),
            asyncio.ensure_future(self._means.clock.sleep(each_s)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def look(self) -> None:
        """Look once at every run."""
        means = self._means
        trusted = await means.trusted()
        for grant in await means.grants.live():
            await self._tried(grant.run, partial(self._judge, grant, trusted))
        runs = await self._with_partners()
        await asyncio.gather(*(self._tried(run.id, partial(self._ask, run)) for run in runs))
        self._looks += 1
        if self._looks % PRUNED_EVERY == 1:
            await means.grants.prune()

    async def _tried(self, run: str, do: Callable[[], Awaitable[None]]) -> None:
        """Do it; that one run cannot be looked at keeps nobody from looking at the others."""
        try:
            await do()
        except errors.Error as error:
            log.warning("grant.unseen", run=run, code=error.code, reason=error.text)

    async def _judge(self, grant: RunGrant, trusted: Trusted) -> None:
        if await self._is_over(grant):
            await self._means.grants.over(grant)
            return
        loss = self._means.grants.loss(grant, trusted)
        if loss is None:
            return
        if not grant.loss:
            await self._note(grant, loss)
        if await Ends(self._means.engine.documents).committed(grant.run):
            await self._too_late(grant, loss)
        elif grant.partner:
            if grant.loss and self._means.clock.wall() - grant.lost >= GRACE_S:
                await self._means.interrupt(grant.run)
                await self._means.mover.forget(grant.run)
        else:
            await self._cancel(grant.run, lost(loss, grant.run, self._means.site))

    async def _is_run(self, run: str) -> bool:
        try:
            await self._means.engine.runs.fetch(run)
        except errors.NotFound:
            return False
        return True

    async def _is_over(self, grant: RunGrant) -> bool:
        """Say whether nothing more happens in the run by itself or by anybody's wish."""
        too_old = grant.since + BEGINNING_S < self._means.clock.wall()
        if grant.partner:
            known = await self._means.foreign.find(grant.run)
            return known.closed if known else too_old
        try:
            run = await self._means.engine.runs.fetch(grant.run)
        except errors.NotFound:
            return too_old
        return run.state.final and run.state is not RunState.ATTENTION

    async def _note(self, grant: RunGrant, loss: Loss) -> None:
        """Keep that the right is lost, and tell it in the audit log first."""
        entry = AuditEntry(
            action="grant.lose",
            actor=f"site {self._means.site}",
            tenant=grant.tenant,
            subject=grant.run,
            run=grant.run,
            facts={"loss": loss},
        )
        await self._means.engine.audit.note(entry, AuditResult(result=Result.DONE))
        await self._means.grants.lose(grant.run, loss)
        log.warning("grant.lost", run=grant.run, tenant=grant.tenant, loss=loss)

    async def _too_late(self, grant: RunGrant, loss: Loss) -> None:
        if grant.late:
            return
        await self._means.grants.too_late(grant.run)
        if not grant.partner:
            await self._means.engine.tell(grant.run, late_finding(grant, loss))

    async def _cancel(self, run: str, why: errors.Cancelled) -> None:
        try:
            if not (await self._means.engine.runs.fetch(run)).state.final:
                await self._means.engine.cancel(run, why)
        except errors.Conflict as error:  # it ended meanwhile, rolls back, or is past its commit
            log.info("grant.not-cancelled", run=run, code=error.code)

    # Whether runs of this site still have their right at a partner.
    async def _with_partners(self) -> list[RunRecord]:
        found: list[RunRecord] = []
        cursor = ""
        while True:
            page = await self._means.engine.runs.list(
                RunFilter(kind=MIGRATE, states=UNDER_WAY), cursor=cursor
            )
            found += [run for run in page.runs if _abroad(run)]
            cursor = page.cursor
            if not cursor:
                return found

    async def _ask(self, run: RunRecord) -> None:
        cloud = _abroad(run)
        try:
            async with asyncio.timeout(ASK_S):
                granted = await self._means.abroad.granted(run.tenant, run.id, cloud)
            loss = None if granted.late else granted.loss
        except TimeoutError:
            return
        except errors.Error as error:
            if error.code not in _NO_RIGHT:
                raise
            loss = _NO_RIGHT[error.code]
        if loss and not await Ends(self._means.engine.documents).committed(run.id):
            await self._cancel(run.id, lost(loss, run.id, parted(cloud)[1]))


def _abroad(run: RunRecord) -> str:
    """Return the run's cloud that is a partner's, empty when both are of this site."""
    ends = (run.labels.get("source", ""), run.labels.get("target", ""))
    return next((cloud for cloud in ends if parted(cloud)[1]), "")
