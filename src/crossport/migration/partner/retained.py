"""Sources that partners' runs left behind on clouds of this site: deleted by their owner, by way of the run.

This site knows that it permitted the start, and that the partner stated its copy to be ready. That the copy
runs, only the partner knows: so nothing is deleted while its run may still go on here.
"""

from collections.abc import Awaitable, Callable

from crossport import errors
from crossport.migration.end import Ends
from crossport.migration.partner.foreign import Foreign, ForeignRun, RunEnd
from crossport.migration.permit import SourceState
from crossport.migration.retirement import deleted, kept_source, would_delete
from crossport.model.run import Act
from crossport.spi.cloud import Cloud

__all__ = ["Retained"]


class Retained:
    """Works with the site's foreign runs; ``ends`` is asked at each use, ``cloud`` connects for a tenant."""

    def __init__(
        self,
        foreign: Foreign,
        ends: Callable[[], Ends],
        cloud: Callable[[str, str], Awaitable[Cloud]],
    ) -> None:
        self._foreign = foreign
        self._ends = ends
        self._cloud = cloud

    async def run(self, tenant: str, run: str) -> ForeignRun | None:
        """Return a partner's run by this site's word for it, None unless it acts as the tenant."""
        known = await self._foreign.find(run)
        return known if known and known.tenant == tenant else None

    async def retire(self, known: ForeignRun, *, confirmed: bool) -> tuple[str, ...]:
        """Delete the source that it left behind; unconfirmed, only say what would be deleted."""
        hold = await self._ends().hold(known.id)
        if known.end is not RunEnd.SOURCE or hold is None or hold.state is not SourceState.COMMITTED:
            raise errors.Conflict(
                "run.not-committed",
                f"Run {known.run} of {known.partner} has left no source behind here.",
                field="run",
                remedy=f"See what stands here because of it: crossport trust run {known.id}",
            )
        if not known.closed:
            raise errors.Conflict(
                "partner.run.going-on",
                f"{known.partner} has not ended its run {known.run}: it may not have opened the copy yet.",
                field="run",
                remedy="Let its operator end it there. If that will never be, find out whether the copy "
                f"runs, then: crossport trust clean {known.id} --gone",
            )
        cloud = await self._cloud(known.tenant, known.cloud)
        vm = await kept_source(cloud, hold.vm)
        if vm is not None and not confirmed:
            return (*would_delete(cloud, vm), _last_copy(known))
        done = await deleted(Act(run=known.id, step="retire", epoch=known.epoch), cloud, vm) if vm else ()
        await self._ends().retired(known.id)
        return done


def _last_copy(known: ForeignRun) -> str:
    return (
        f"It may be the last copy: that the one at {known.partner} runs is not seen from here. "
        "Ask its operator."
    )
