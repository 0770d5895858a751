"""What vouches for a site is replaced: its root, which partners follow, and its authority, at once."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.unit.partner.exchange_rig import Node
from tests.unit.partner.test_exchange import befriended

from crossport import errors
from crossport.identity.tls import fingerprint
from crossport.model.partner import AuthorityRequest, Partner
from crossport.partner.badge import Shown
from crossport.partner.dialling import Dial
from crossport.partner.introduction import learned
from crossport.spi.partner import Lines


async def test_a_revoked_authority_counts_no_more_within_seconds(north: Node, south: Node) -> None:
    await befriended(north, south)
    old = north.identity.issue("control", "partners", lifetime_s=3600)
    north.parts.operations.converse("listen", listen)
    south.parts.operations.converse("listen", listen)
    loop = asyncio.get_running_loop()
    async with (
        asyncio.timeout(60),
        south.link.stream("north", "listen", b"") as shown_by_north,
        north.link.stream("south", "listen", b"") as shown_to_south,
    ):
        for lines in (shown_by_north, shown_to_south):
            await lines.send(b"1")
            assert await lines.receive() == b"1"
        told = await north.office.rotate(AuthorityRequest(revoke=True))
        began = loop.time()
        assert [one.partner.name for one in told] == ["south"]
        for lines in (shown_by_north, shown_to_south):
            with pytest.raises(errors.Unavailable):
                await lines.receive()
        assert loop.time() - began < 5.0
    known = await south.book.known("north")
    assert known.authorities == (north.authorities.shown.authority_pem,)
    assert fingerprint(known.authorities[0]) != fingerprint(north.identity.authority_pem)
    async with south.link.stream("north", "listen", b"") as lines:  # what runs goes on
        await lines.send(b"2")
        assert await lines.receive() == b"2"
    thief = Shown(old.certificate_pem, old.key_pem, old.expires)
    dial = Dial("south", f"https://{south.settings.partner_listen}", (south.identity.authority_pem,), thief)
    with pytest.raises(errors.Refused) as caught:
        await dial.post("about", b"{}")
    assert caught.value.code == "partner.certificate.refused"
    await dial.close()


async def listen(partner: Partner, opening: bytes, lines: Lines) -> None:
    while (line := await lines.receive()) is not None:
        await lines.send(line)


async def test_a_partner_that_slept_through_two_roots_follows_and_believes_no_earlier_one(
    north: Node, south: Node
) -> None:
    await befriended(north, south)
    old = await north.own_keys.keys()
    for _ in range(2):
        await north.own_keys.follow()
    newest = await north.own_keys.keys()
    assert newest.document.root != old.document.root
    heard = await south.parts.rounds.ask(await south.book.known("north"))
    assert (heard.root, heard.roles) == (newest.document.root, newest.envelope)
    assert await south.parts.rounds.ask(heard) == dataclasses.replace(
        heard, **{name: getattr(await south.book.known("north"), name) for name in ("changed", "refreshed")}
    )
    thief = dataclasses.replace(await north.parts.rounds.word.introduction(), root=old.document.root)
    with pytest.raises(errors.Refused) as caught:
        learned(heard, dataclasses.replace(thief, roles=old.envelope), south.clock.wall())
    assert caught.value.code == "partner.root.other"


async def test_a_root_that_the_one_before_did_not_let_follow_is_refused(
    north: Node, south: Node, tmp_path: Path
) -> None:
    await befriended(north, south)
    stranger = Node(tmp_path / "stranger", "north")
    known = await south.book.known("north")
    with pytest.raises(errors.Refused) as caught:
        learned(known, await stranger.parts.rounds.word.introduction(), south.clock.wall())
    assert caught.value.code == "partner.root.other"
