"""How fast bytes pass to a partner, measured over the link to it; between own clouds others measure."""

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.partner.exchange_rig import Node
from tests.unit.partner.test_exchange import befriended

from crossport import errors
from crossport.app.peer_parts import Among, LinkRates
from crossport.model.artifact import Place, Rate
from crossport.model.partner import PartnerState

OWN = Rate(size=1, seconds=1.0)
HERE = Place(cloud="alpha", subnet="", address="")
THERE = Place(cloud="beta", subnet="", address="", site="south")


class OwnProbe:
    async def measure(self, source: Place, target: Place) -> Rate:
        del source, target
        return OWN


async def test_the_link_to_a_partner_is_measured_each_way(tmp_path: Path):
    north, south = await Node(tmp_path, "north").open(), await Node(tmp_path, "south").open()
    try:
        await befriended(north, south)
        among = Among("north", north.parts, cast("Any", None), north.clock)
        rates = LinkRates(OwnProbe(), among)
        assert await rates.measure(HERE, HERE) == OWN
        for ends in ((HERE, THERE), (THERE, HERE)):
            assert (await rates.measure(*ends)).bps > 1e6
        await north.office.revoke("south")
        assert (await north.book.known("south")).state is PartnerState.REVOKED
        with pytest.raises(errors.Refused):
            await rates.measure(HERE, THERE)
    finally:
        await north.close()
        await south.close()
