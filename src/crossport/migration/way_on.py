"""The way on: the target states that its copy stands, the source permits it, the target opens it."""

from crossport.migration.leg import CERTAIN, PATIENT, How, Leg
from crossport.migration.step import Timed
from crossport.model.permit import Statement
from crossport.model.run import Act

__all__ = ["open_up", "permitted"]


async def permitted(leg: Leg, source_id: str, target_id: str) -> Statement:
    """Return the start permit. With it the decision is made; without it nothing has changed."""
    request = leg.request

    async def prepare(act: Act) -> Statement:
        return await (await leg.target()).prepare_commit(act, request.target, target_id)

    prepared = (await leg.timed("prepare-commit", prepare, Statement, How(retry=PATIENT))).value

    async def permit(act: Act) -> Statement:
        return await (await leg.source()).commit(act, request.source, source_id, other=prepared)

    return (await leg.timed("commit-source", permit, Statement, How(retry=PATIENT))).value


async def open_up(leg: Leg, target_id: str, permit: Statement) -> Timed[Statement]:
    """Open the copy to its networks on the permit."""

    async def open_network(act: Act) -> Statement:
        return await (await leg.target()).commit(act, leg.request.target, target_id, other=permit)

    how = How(phase="network_setup", retry=CERTAIN)
    return await leg.timed("commit-target", open_network, Statement, how)
