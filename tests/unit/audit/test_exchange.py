"""Two sites show one another the heads of their logs: each keeps, countersigns, finds what was changed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.audit.rig import Rig, site

from crossport import errors
from crossport.audit.head import head_of
from crossport.audit.verify import verified
from crossport.migration.heads import OPERATION
from crossport.model.head import HeadKind
from crossport.model.keyring import Keyring


class Wire:
    """A link to one partner that answers at once, as long as it is not cut."""

    def __init__(self, here: Rig, there: Rig) -> None:
        self.here, self.there = here, there
        self.cut = False

    async def call(self, partner: str, operation: str, body: bytes) -> bytes:
        assert (partner, operation) == (self.there.name, OPERATION)
        answer = await self.there.heads.answer((await self.here.partner()).partner, body)
        if self.cut:
            raise errors.Unavailable("partner.away", "The link is cut.")
        return answer

    def stream(self, partner: str, operation: str, opening: bytes) -> None:
        raise NotImplementedError


async def exchange(here: Rig, there: Rig, wire: Wire | None = None) -> None:
    await here.heads.exchange((await there.partner()).partner, wire or Wire(here, there))  # type: ignore[arg-type]


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[tuple[Rig, Rig]]:
    async with site(tmp_path / "north", "north") as north, site(tmp_path / "south", "south") as south:
        yield north, south


async def kept(rig: Rig, of: Rig) -> list[tuple[str, int]]:
    return [(signer, head.size) for head, signer in map(head_of, await rig.heads.kept(of.name))]


async def test_both_keep_both_heads_and_each_countersigns(sites: tuple[Rig, Rig]):
    north, south = sites
    await north.act(2)
    await south.act(3)
    await exchange(north, south)
    for here in sites:
        assert await kept(here, north) == [("north", 4), ("south", 4)]
        assert await kept(here, south) == [("north", 6), ("south", 6)]
    witness = next(one for one in await north.heads.kept("north") if one.kind is HeadKind.WITNESS)
    both = [*await north.heads.kept("north")]
    keys = Keyring(keys=(*(await north.keys()).keys, *(await south.keys()).keys))
    assert witness in both
    assert verified(await north.export(), {"own": both}, keys).flaws == ()


async def test_it_goes_on_from_what_the_partner_has(sites: tuple[Rig, Rig]):
    north, south = sites
    for _ in range(4):
        await north.act(3)
        await exchange(north, south)
        await south.act(1)
        await exchange(south, north)
    assert [size for signer, size in await kept(south, north) if signer == "south"] == [6, 12, 18, 24]


async def test_a_lost_answer_is_made_up_for_by_the_next_exchange(sites: tuple[Rig, Rig]):
    north, south = sites
    await north.act(2)
    wire = Wire(north, south)
    wire.cut = True
    with pytest.raises(errors.Unavailable):
        await exchange(north, south, wire)
    await north.act(1)
    await exchange(north, south)
    assert ("south", 6) in await kept(north, north)


async def test_a_death_between_signing_and_keeping_is_made_up_for(sites: tuple[Rig, Rig]):
    north, south = sites
    await north.act(2)
    await exchange(north, south)
    await north.act(1)
    await exchange(north, south)
    first = next(head for head, signer in map(head_of, await south.heads.kept("north")) if signer == "north")
    await south.documents.put("audit-newest", "north", first)
    await north.act(1)
    with pytest.raises(errors.Conflict) as raised:
        await exchange(north, south)
    assert raised.value.code == "audit.head.again"
    await exchange(north, south)
    assert ("south", 8) in await kept(north, north)


async def test_a_partner_whose_log_was_cut_or_rewritten_gets_no_countersignature(sites: tuple[Rig, Rig]):
    """It has its signer under control, too: what finds it is what the partner has kept."""
    north, south = sites
    await north.act(3)
    await exchange(north, south)
    texts = [one.text for one in await north.log.records()]
    for forged, code in (
        ([text.replace("token", "nobody") for text in texts] * 2, "audit.head.forked"),
        (texts[:4], "audit.head.smaller"),
    ):
        await north.rewrite(forged)
        (north.folder / "signer/heads.json").unlink()
        north.sql("DELETE FROM documents WHERE kind LIKE 'audit-%' AND key LIKE 'north%'")
        with pytest.raises(errors.Refused) as raised:
            await exchange(north, south)
        assert raised.value.code == code
    assert [size for signer, size in await kept(south, north) if signer == "south"] == [6]


async def test_a_partner_whose_clock_is_wrong_gets_no_countersignature(sites: tuple[Rig, Rig]):
    north, south = sites
    await north.act(1)
    north.clock.moved_s = 3600.0
    with pytest.raises(errors.Refused) as raised:
        await exchange(north, south)
    assert raised.value.code == "audit.head.clock"
