"""Gateways that nobody can dial: the other end lets them dial, whichever of the two sends."""

from pathlib import Path

import pytest
from tests.lab.gateway.between import CLOSED, Between

from crossport import errors
from crossport.model.artifact import Moved, Rate
from crossport.testing.conformance.block import noise
from crossport.transfer.dialling import Dialling
from crossport.transfer.pair import Settings
from crossport.transfer.rate_probe import ProbeBounds, WorkerRateProbe
from crossport.units import MIB

pytestmark = pytest.mark.root

CONNECT_S = 2.0
CONTENT = noise(3 * MIB) + bytes(MIB)


async def measured(between: Between, dialling: Dialling) -> Rate:
    bounds = ProbeBounds(size=MIB, limit_s=30.0, connect_s=CONNECT_S)
    site = between.site
    return await WorkerRateProbe(site.hub, site.clock, bounds, dialling).measure(*between.ends())


async def copied(between: Between, dialling: Dialling) -> Moved:
    source = between.disk("source", CONTENT)
    target = between.disk("target", bytes(len(CONTENT)))
    mover = between.mover(Settings(connect_s=CONNECT_S), dialling)
    moved = await between.copied(mover, source, target)
    assert Path(target.locator).read_bytes() == CONTENT
    return moved


@pytest.mark.parametrize("closed", [0, 1], ids=["source", "target"])
async def test_a_gateway_that_cannot_be_dialled_dials(between: Between, closed: int) -> None:
    between.rules(closed, CLOSED)
    dialling = Dialling()
    assert (await measured(between, dialling)).size > 0
    moved = await copied(between, dialling)
    assert moved.counters.read >= 3 * MIB


async def test_where_neither_can_be_dialled_that_is_said_of_both(between: Between) -> None:
    for end in (0, 1):
        between.rules(end, CLOSED)
    for way in (measured, copied):
        with pytest.raises(errors.Unavailable) as caught:
            await way(between, Dialling())
        assert caught.value.code == "transfer.peer.unreachable"
        assert "10.98.9.1" in caught.value.text
        assert "10.98.9.2" in caught.value.text
