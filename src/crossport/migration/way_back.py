"""The way back: no permit, then the target's part discarded, then the source as it was; and tidying up."""

from collections.abc import Awaitable, Callable

from crossport import errors
from crossport.migration.leg import BRIEF, SURE, Leg
from crossport.migration.step import Timed
from crossport.model.permit import Statement, StatementKind
from crossport.model.run import Act
from crossport.spi.site import Cleaned, Site

__all__ = ["bring_back", "clean_up", "end_reading", "is_out_of_reach", "reclaim"]


def is_out_of_reach(error: errors.Error) -> bool:
    """Say whether an end cannot be cleaned now for a reason that keeps nobody from cleaning the other."""
    return isinstance(error, errors.Unavailable | errors.NotFound) or error.code.startswith("partner.")


async def bring_back(leg: Leg, vm_id: str, *, sure: bool) -> Timed[Statement]:
    """Bring the source back; return its release. Each side acts only on the statement of the other.

    Without ``sure`` nothing is discarded before the source has shown its VM.
    """
    request = leg.request
    no_permit = await _withdrawn(leg, vm_id, sure=sure)

    async def discard(act: Act) -> Statement:
        return await (await leg.target()).roll_back(act, request.target, vm_id, other=no_permit)

    gone = (await leg.timed("roll-back-target", discard, Statement, SURE)).value
    return await _released(leg, vm_id, gone)


async def reclaim(leg: Leg, vm_id: str, target_id: str, *, committed: bool, sure: bool) -> Timed[Statement]:
    """Bring the source back although the target cannot discard its copy, which is lost.

    ``committed``: behind the commit. ``sure``: a person says that a target that does not answer is gone. Of
    a partner that states nothing any more that is taken as long as no permit was given: none will be, and
    without one no copy leaves its quarantine.
    """
    if not committed:
        await _withdrawn(leg, vm_id, sure=False)

    async def give_up(act: Act) -> Statement:
        try:
            return await (await leg.target()).give_up(act, leg.request.target, target_id, sure=sure)
        except errors.Error as error:
            if committed or not sure or not is_out_of_reach(error):
                raise
            return await _persons_word(leg, act)

    lost = (await leg.timed("give-up-target", give_up, Statement, BRIEF)).value
    return await _released(leg, vm_id, lost)


async def _persons_word(leg: Leg, act: Act) -> Statement:
    """Return in the name of the source's site what the target's will never state."""
    return Statement(
        kind=StatementKind.NEVER_STARTED,
        site=(await leg.source()).name,
        run=act.run,
        vm="",
        epoch=act.epoch,
        made=leg.parts.clock.wall(),
    )


async def _withdrawn(leg: Leg, vm_id: str, *, sure: bool) -> Statement:
    async def withdraw(act: Act) -> Statement:
        return await (await leg.source()).withdraw(act, leg.request.source, vm_id, sure=sure)

    return (await leg.timed("withdraw", withdraw, Statement, SURE)).value


async def _released(leg: Leg, vm_id: str, gone: Statement) -> Timed[Statement]:
    async def release(act: Act) -> Statement:
        return await (await leg.source()).roll_back(act, leg.request.source, vm_id, other=gone)

    return await leg.timed("roll-back-source", release, Statement, SURE)


async def clean_up(leg: Leg, *, keep_vm: bool) -> tuple[str, ...]:
    """Remove what the run made at both ends and does not keep; return what could not be removed.

    An end that cannot be reached is told and undoes nothing: what it holds stays in the ledger.
    """
    there = await _cleaned(leg, "clean-target", leg.target, leg.request.target, keep_vm=keep_vm)
    here = await _cleaned(leg, "clean-source", leg.source, leg.request.source, keep_vm=keep_vm)
    return (*there, *here)


async def _cleaned(
    leg: Leg, step: str, site: Callable[[], Awaitable[Site]], cloud: str, *, keep_vm: bool
) -> tuple[str, ...]:
    async def clean(act: Act) -> Cleaned:
        return await (await site()).clean(act, cloud, keep_vm=keep_vm)

    try:
        return (await leg.timed(step, clean, Cleaned, SURE)).value.left
    except errors.Error as error:
        if not is_out_of_reach(error):
            raise
        return (f"cloud {cloud}: {error.text}",)


async def end_reading(leg: Leg) -> tuple[str, ...]:
    """End the export alone: what a well test copy needs no longer. The run may still be undone."""

    async def end(act: Act) -> Cleaned:
        return await (await leg.source()).clean(act, leg.request.source, keep_vm=True)

    return (await leg.timed("end-reading", end, Cleaned, SURE)).value.left
