"""Whether the gateway of a seat is there, as a dry run asks: of hubs with real doors and real gateways."""

import asyncio

import pytest
from tests.unit.gateway.rig import EXPORT, IMPORT, Site, Workers, place
from tests.unit.gateway.test_control import HELLO, REF, cut, knocked

from crossport import errors
from crossport.gateway import agent, desk, hub, trust
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


async def test_who_waits_for_one_that_is_gone_for_good_waits_until_it_is_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    """Then the copy fails as one that may be tried again, and another gateway of the subnet does it."""
    monkeypatch.setattr(desk, "LOOK_S", 0.02)
    one = await site.gateway(start=Workers().start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        waiting = asyncio.create_task(worker.event("done"))
        await one.stop()
        await site.until_connected(one.id, connected=False)
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await site.hub.office.remove("acme", one.id)  # as another node does that was asked
        with pytest.raises(errors.Unavailable) as caught:
            await waiting
        assert caught.value.code == "gateway.away"
    assert await site.hub.seated(place()) == Seated()


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


async def test_one_of_a_release_that_vouches_for_nothing_is_told_though_it_is_here(site: Site):
    kept = await site.joined(await site.enrolled())
    context = trust.gateway_context(site.identity.authority_pem, kept.certificate(), kept.key())
    line = await agent.dialled(f"unix:{site.directory / 'node.gate'}", context, "north")
    await line.send(HELLO | {"release": "0.9.0"})
    await agent.answered(line, "welcome")
    found = await site.hub.seated(place())
    assert (found.presence, found.release) == (Presence.MUTE, "0.9.0")

    await line.close()
    one = site.run(kept, Workers().start)
    await site.until_connected(one.id)
    async with asyncio.timeout(30):
        while (await site.hub.seated(place())).presence is not Presence.HERE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
