"""The way back: no permit, then the target's part discarded, then the source as it was; and tidying up."""

from crossport.migration.leg import SURE, Leg
from crossport.migration.step import Timed
from crossport.model.permit import Statement
from crossport.model.run import Act
from crossport.model.vm import VM
from crossport.spi.site import Cleaned

__all__ = ["bring_back", "clean_up", "end_reading"]


async def bring_back(leg: Leg, vm: VM) -> Timed[Statement]:
    """Bring the source back; return its release. Each side acts only on the statement of the other."""
    request = leg.request

    async def withdraw(act: Act) -> Statement:
        return await (await leg.source()).withdraw(act, request.source, vm.id)

    no_permit = (await leg.timed("withdraw", withdraw, Statement, SURE)).value

    async def discard(act: Act) -> Statement:
        return await (await leg.target()).roll_back(act, request.target, vm.id, other=no_permit)

    gone = (await leg.timed("roll-back-target", discard, Statement, SURE)).value

    async def release(act: Act) -> Statement:
        return await (await leg.source()).roll_back(act, request.source, vm.id, other=gone)

    return await leg.timed("roll-back-source", release, Statement, SURE)


async def clean_up(leg: Leg, *, keep_vm: bool) -> tuple[str, ...]:
    """Remove what the run made at both ends and does not keep; return what could not be removed."""
    request = leg.request

    async def clean_target(act: Act) -> Cleaned:
        return await (await leg.target()).clean(act, request.target, keep_vm=keep_vm)

    async def clean_source(act: Act) -> Cleaned:
        return await (await leg.source()).clean(act, request.source, keep_vm=keep_vm)

    there = (await leg.timed("clean-target", clean_target, Cleaned, SURE)).value
    here = (await leg.timed("clean-source", clean_source, Cleaned, SURE)).value
    return (*there.left, *here.left)


async def end_reading(leg: Leg) -> tuple[str, ...]:
    """End the export alone: what a well test copy needs no longer. The run may still be undone."""

    async def end(act: Act) -> Cleaned:
        return await (await leg.source()).clean(act, leg.request.source, keep_vm=True)

    return (await leg.timed("end-reading", end, Cleaned, SURE)).value.left
