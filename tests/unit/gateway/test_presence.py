"""Whether the gateway of a seat is there, as a dry run asks: of hubs with real doors and real gateways."""

import pytest
from tests.unit.gateway.rig import EXPORT, IMPORT, Site, Workers, place
from tests.unit.gateway.test_control import HELLO, cut, knocked

from crossport import errors
from crossport.gateway import hub
from crossport.model.gateway import Presence, Seated


async def test_where_none_was_enrolled_the_site_works_itself(site: Site):
    await site.gateway(IMPORT, Workers().start)
    assert await site.hub.seated(place(EXPORT)) == Seated()


async def test_one_that_is_connected_is_here_with_its_release(site: Site):
    one = await site.gateway(start=Workers().start)
    found = await site.hub.seated(place())
    assert (found.gateway, found.presence) == (one.id, Presence.HERE)
    assert found.release


async def test_one_that_is_just_reconnecting_is_waited_for(site: Site):
    one = await site.gateway(start=Workers().start)
    await cut(site, one.id)
    assert (await site.hub.seated(place())).presence is Presence.HERE


async def test_one_that_stays_away_is_away_and_waited_for_once(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "PATIENCE_S", 0.2)
    kept = await site.joined(await site.enrolled())
    for _ in range(2):
        found = await site.hub.seated(place())
        assert (found.gateway, found.presence) == (kept.membership().gateway, Presence.AWAY)
        monkeypatch.setattr(hub, "PATIENCE_S", 0.0)


async def test_one_that_drains_is_told_unless_another_can_work(site: Site):
    first = await site.gateway(start=Workers().start)
    await site.hub.drain("acme", first.id)
    found = await site.hub.seated(place())
    assert (found.gateway, found.presence) == (first.id, Presence.DRAINING)
    second = await site.gateway(start=Workers().start)
    assert (await site.hub.seated(place())).gateway == second.id


async def test_one_of_a_release_too_far_away_is_apart_until_it_is_updated(site: Site):
    kept = await site.joined(await site.enrolled())
    with pytest.raises(errors.Refused):
        await knocked(site, kept.certificate(), kept.key(), HELLO | {"versions": [7, 8], "release": "9.0.0"})
    found = await site.hub.seated(place())
    assert (found.presence, found.release) == (Presence.APART, "9.0.0")
    one = site.run(kept, Workers().start)
    await site.until_connected(one.id)
    assert (await site.hub.seated(place())).presence is Presence.HERE
