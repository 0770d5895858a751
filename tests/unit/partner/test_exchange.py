"""How two sites become partners, every way in which somebody between them could cheat, and how it ends."""

import asyncio
import base64
import dataclasses
from pathlib import Path

import pytest
from tests.unit.partner.exchange_rig import Node

from crossport import errors
from crossport.identity.partners import STALE_S
from crossport.identity.tls import fingerprint
from crossport.model import codec
from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    LinkFigures,
    Partner,
    PartnerState,
    TenantRule,
    Touched,
)
from crossport.partner import probe
from crossport.partner.badge import Shown
from crossport.partner.dialling import Dial
from crossport.partner.introduction import Introduction, introduced
from crossport.partner.invitation import LINE, Greeting, Invitation, proof
from crossport.spi.secret import Secret


async def echo(partner: Partner, body: bytes) -> bytes:
    return partner.name.encode() + body


async def invited(north: Node, partner: str = "south") -> str:
    return (await north.office.invite(InviteRequest(partner=partner))).invitation


async def befriended(north: Node, south: Node) -> None:
    """Do what both operators do."""
    seen_south = await south.office.accept(AcceptRequest(invitation=await invited(north)))
    seen_north = await north.office.show("south")
    assert seen_south.fingerprint == seen_north.own_fingerprint
    assert seen_south.own_fingerprint == seen_north.fingerprint
    await south.office.confirm("north", ConfirmRequest(fingerprint=seen_south.fingerprint))
    await north.office.confirm("south", ConfirmRequest(fingerprint=seen_north.fingerprint))


def opened(text: str) -> tuple[Invitation, Dial]:
    """Return an invitation as somebody sees it who found it, and the way in that it opens."""
    found = LINE.unpacked(text)
    said = found.introduction
    shown = Shown(found.certificate, Secret(found.key), found.expires)
    return found, Dial(said.site, said.address, said.authorities, shown)


async def test_two_operators_make_partners_of_their_sites(north: Node, south: Node) -> None:
    await befriended(north, south)
    south.parts.operations.answer("echo", echo)
    north.parts.operations.answer("echo", echo)
    assert await north.link.call("south", "echo", b"1") == b"north1"
    assert await south.link.call("north", "echo", b"2") == b"south2"
    for node, other in ((north, "south"), (south, "north")):
        (shown,) = await node.office.shown()
        assert (shown.partner.name, shown.partner.state) == (other, PartnerState.ACCEPTED)
        link = shown.partner.link
        assert link is not None
        assert link.mtu >= 1280
        assert 0 < link.round_trip_s < 2
        assert min(link.rate_in, link.rate_out) > 1 << 20


async def test_nothing_is_allowed_before_both_confirmed(north: Node, south: Node) -> None:
    south.parts.operations.answer("echo", echo)
    met = await south.office.accept(AcceptRequest(invitation=await invited(north)))
    with pytest.raises(errors.Refused) as caught:
        await south.link.call("north", "echo", b"")
    assert caught.value.code == "partner.unconfirmed"
    await south.office.confirm("north", ConfirmRequest(fingerprint=met.fingerprint))
    with pytest.raises(errors.Refused) as unconfirmed:
        await south.link.call("north", "echo", b"")
    assert unconfirmed.value.code == "partner.unconfirmed"  # says north


async def test_a_fingerprint_that_differs_in_one_digit_is_refused(north: Node, south: Node) -> None:
    met = await south.office.accept(AcceptRequest(invitation=await invited(north)))
    other = met.fingerprint[:-1] + ("0" if met.fingerprint[-1] != "0" else "1")
    with pytest.raises(errors.Refused) as caught:
        await south.office.confirm("north", ConfirmRequest(fingerprint=other))
    assert caught.value.code == "partner.fingerprint.other"
    assert (await south.office.show("north")).partner.state is PartnerState.INVITED


async def test_an_invitation_is_good_once(north: Node, south: Node) -> None:
    text = await invited(north)
    found, dial = opened(text)
    await south.office.accept(AcceptRequest(invitation=text))
    own = await south.parts.rounds.word.introduction()
    secret = base64.b64decode(found.secret)
    greeting = Greeting(introduction=own, proof=proof(secret, found.id, own, None))
    with pytest.raises(errors.Refused) as caught:
        await dial.post("exchange", codec.encoded(greeting).encode())
    assert caught.value.code == "partner.invitation.used"
    await dial.close()


async def test_an_invitation_is_good_for_ten_minutes(north: Node, south: Node) -> None:
    text = await invited(north)
    assert len(base64.b64decode(LINE.unpacked(text).secret)) >= 16
    for late in (north, south):
        late.clock.ahead_s = 601.0
        with pytest.raises(errors.Refused) as caught:
            await south.office.accept(AcceptRequest(invitation=text))
        assert caught.value.code == "partner.invitation.expired"
        late.clock.ahead_s = 0.0
        text = await invited(north)


async def test_who_is_late_with_an_invitation_is_told_so_and_not_cut_off(north: Node, south: Node) -> None:
    found, dial = opened(await invited(north, "east"))
    own, secret = await south.parts.rounds.word.introduction(), base64.b64decode(found.secret)
    greeting = codec.encoded(Greeting(introduction=own, proof=proof(secret, found.id, own, None))).encode()
    with pytest.raises(errors.Refused, match="other"):
        await dial.post("exchange", greeting)
    kept = dict(vars(north.parts.listener)["_open"])
    assert kept
    north.clock.ahead_s = 601.0
    await north.parts.watch.look()
    assert dict(vars(north.parts.listener)["_open"]) == kept
    with pytest.raises(errors.Refused, match="used before"):
        await dial.post("exchange", greeting)
    await dial.close()


async def test_an_invitation_is_for_the_site_that_it_names(north: Node, south: Node) -> None:
    text = await invited(north, "east")
    with pytest.raises(errors.Refused) as caught:
        await south.office.accept(AcceptRequest(invitation=text))
    assert caught.value.code == "partner.invitation.other"
    found, dial = opened(text)
    own, secret = await south.parts.rounds.word.introduction(), base64.b64decode(found.secret)
    greeting = Greeting(introduction=own, proof=proof(secret, found.id, own, None))
    with pytest.raises(errors.Refused) as refused:
        await dial.post("exchange", codec.encoded(greeting).encode())
    assert refused.value.code == "partner.invitation.other"
    assert await north.office.shown() == ()
    await dial.close()


@pytest.mark.parametrize(
    "text", ["", "crossport-join-1.eyJ", "crossport-partner-1.eyJ", "crossport-partner-9.eyJ"]
)
async def test_what_is_no_invitation_is_said(south: Node, text: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await south.office.accept(AcceptRequest(invitation=text))
    assert caught.value.field == "invitation"


async def test_who_does_not_know_the_secret_is_found(north: Node, south: Node) -> None:
    """Somebody between both who lets the exchange pass and puts in an authority of his own."""
    text = await invited(north)
    found, dial = opened(text)
    own = await south.parts.rounds.word.introduction()
    guess = Greeting(introduction=own, proof=proof(b"guess" * 8, found.id, own, None))
    with pytest.raises(errors.Refused) as caught:
        await dial.post("exchange", codec.encoded(guess).encode())
    assert caught.value.code == "partner.exchange.forged"
    assert await north.office.shown() == ()
    await dial.close()
    with pytest.raises(errors.Refused) as burnt:  # nobody guesses twice
        await south.office.accept(AcceptRequest(invitation=text))
    assert burnt.value.code == "partner.invitation.used"


async def test_what_was_changed_on_its_way_is_found(north: Node, south: Node, tmp_path: Path) -> None:
    """The proof covers all that either end says: each part of it, changed alone, is noticed."""
    middle = Node(tmp_path, "south-of-the-border")
    mine = await middle.parts.rounds.word.introduction()
    own = await south.parts.rounds.word.introduction()
    for change in (
        {"authorities": mine.authorities},
        {"address": mine.address},
        {"root": mine.root},
        {"roles": mine.roles},
    ):
        found, dial = opened(await invited(north))
        said = proof(base64.b64decode(found.secret), found.id, own, None)
        forged = Greeting(introduction=dataclasses.replace(own, **change), proof=said)
        with pytest.raises(errors.Refused) as caught:
            await dial.post("exchange", codec.encoded(forged).encode())
        assert caught.value.code == "partner.exchange.forged"
        await dial.close()


async def test_a_root_that_is_not_the_authoritys_is_found_before_trust(
    north: Node, south: Node, tmp_path: Path
) -> None:
    """A thief of the invitation cannot put his own root beside the true site's authority."""
    thief = Node(tmp_path / "thief", "south")
    found, dial = opened(await invited(north))
    true, false = await south.parts.rounds.word.introduction(), await thief.parts.rounds.word.introduction()
    secret = base64.b64decode(found.secret)
    mixed = dataclasses.replace(false, authorities=true.authorities, address=true.address)
    greeting = Greeting(introduction=mixed, proof=proof(secret, found.id, mixed, None))
    with pytest.raises(errors.Refused) as caught:
        await dial.post("exchange", codec.encoded(greeting).encode())
    assert caught.value.code == "partner.introduction.unfit"
    assert await north.office.shown() == ()
    await dial.close()


async def test_an_authority_that_is_not_bound_to_its_site_is_refused(north: Node, south: Node) -> None:
    now = north.clock.wall()
    own = await south.parts.rounds.word.introduction()
    assert introduced(own, now).state is PartnerState.INVITED
    foreign = await north.parts.rounds.word.introduction()
    for unfit in (
        dataclasses.replace(own, authorities=foreign.authorities),
        dataclasses.replace(own, authorities=("no certificate",)),
        dataclasses.replace(own, site="north"),
        dataclasses.replace(own, roles="no base64 !"),
        dataclasses.replace(own, root=foreign.root),
    ):
        with pytest.raises(errors.Refused):
            introduced(unfit, now)


async def test_a_site_that_does_not_listen_says_so(north: Node) -> None:
    north.parts.rounds.word.address = ""
    with pytest.raises(errors.Conflict) as caught:
        await invited(north)
    assert (caught.value.code, caught.value.field) == ("partner.site.closed", "partner_listen")


async def test_a_site_invites_neither_itself_nor_a_known_one(north: Node, south: Node) -> None:
    with pytest.raises(errors.Invalid) as own:
        await invited(north, "north")
    assert own.value.code == "partner.name.own"
    await befriended(north, south)
    with pytest.raises(errors.Conflict) as known:
        await invited(north)
    assert known.value.code == "partner.known"
    with pytest.raises(errors.Conflict) as trusted:
        await north.office.forget("south")
    assert trusted.value.code == "partner.trusted"


async def test_a_tenant_acts_as_the_rule_says(north: Node, south: Node) -> None:
    await befriended(north, south)
    first = TenantRule(theirs="acme", ours="acme-south", clouds=("beta",))
    await north.office.allow("south", TenantRule(theirs="zeta", ours="zeta", clouds=("beta",)))
    await north.office.allow("south", TenantRule(theirs="acme", ours="old", clouds=("beta", "gamma")))
    shown = await north.office.allow("south", first)
    assert [one.theirs for one in shown.partner.tenants] == ["acme", "zeta"]
    assert shown.partner.tenants[0] == first
    shown = await north.office.disallow("south", "zeta")
    assert shown.partner.tenants == (first,)
    with pytest.raises(errors.NotFound) as caught:
        await north.office.disallow("south", "zeta")
    assert caught.value.code == "partner.tenant.unknown"


async def test_revoked_forgotten_and_invited_again(north: Node, south: Node) -> None:
    await befriended(north, south)
    north.parts.operations.answer("echo", echo)
    await north.office.revoke("south")
    shown = await north.office.revoke("south")
    assert shown.partner.state is PartnerState.REVOKED
    with pytest.raises((errors.Refused, errors.Unavailable)):
        await south.link.call("north", "echo", b"")
    with pytest.raises(errors.Refused) as caught:
        await north.office.confirm("south", ConfirmRequest(fingerprint=shown.fingerprint))
    assert caught.value.code == "partner.revoked"
    await north.office.forget("south")
    await south.office.revoke("north")
    await south.office.forget("north")
    await befriended(north, south)
    assert await south.link.call("north", "echo", b"") == b"south"


async def test_a_compromise_lists_what_was_touched(north: Node, south: Node) -> None:
    await befriended(north, south)
    asked = list[tuple[str, float]]()

    async def runs(partner: str, since: float) -> tuple[Touched, ...]:
        asked.append((partner, since))
        return (Touched(kind="run", id="r2", at=since + 2), Touched(kind="run", id="r1", at=since + 1))

    async def seals(partner: str, since: float) -> tuple[Touched, ...]:
        return (Touched(kind="seal", id=partner, at=since + 1.5),)

    north.office.traces += [runs, seals]
    found = await north.office.compromise("south", CompromiseRequest(since="2026-11-02T04:00Z"))
    assert asked == [("south", 1793592000.0)]
    assert [(one.kind, one.id) for one in found.touched] == [("run", "r1"), ("seal", "south"), ("run", "r2")]
    shown = (await north.office.revoke("south")).partner
    assert (shown.state, shown.compromised) == (PartnerState.COMPROMISED, 1793592000.0)


async def test_a_new_authority_takes_over_with_calls_under_way(north: Node, south: Node) -> None:
    await befriended(north, south)
    go = asyncio.Event()

    async def slow(partner: Partner, body: bytes) -> bytes:
        await go.wait()
        return b"done"

    north.parts.operations.answer("slow", slow)
    north.parts.operations.answer("echo", echo)
    under_way = asyncio.create_task(south.link.call("north", "slow", b""))
    before = (await south.office.show("north")).fingerprint
    told = await north.office.rotate(AuthorityRequest())
    assert [one.partner.name for one in told] == ["south"]
    assert north.relisted == 2  # with the new one, and with the end of the one before
    assert north.authorities.shown is not north.identity
    known = (await south.office.show("north")).partner
    assert {fingerprint(pem) for pem in known.authorities} >= {before, fingerprint(north.authorities.told[0])}
    assert await south.link.call("north", "echo", b"1") == b"south1"  # north shows the new one
    await north.parts.rounds.go()
    assert (await south.office.show("north")).fingerprint == fingerprint(north.authorities.told[0])
    go.set()
    assert await under_way == b"done"
    north.clock.ahead_s = 24 * 3600.0 + 1
    assert north.authorities.told == (north.authorities.shown.authority_pem,)  # the old one counts no more


async def test_a_partner_that_is_away_learns_the_new_authority_later(north: Node, south: Node) -> None:
    await befriended(north, south)
    north.parts.operations.answer("echo", echo)
    await south.close()
    assert await north.office.rotate(AuthorityRequest()) == ()
    assert north.authorities.waiting
    assert north.authorities.shown is north.identity  # it would not be believed yet
    with pytest.raises(errors.Conflict) as caught:
        await north.office.rotate(AuthorityRequest())
    assert caught.value.code == "partner.rotation.pending"
    await south.open()
    await north.parts.rounds.go()
    assert not north.authorities.waiting
    assert await south.link.call("north", "echo", b"") == b"south"


async def test_another_node_shows_what_the_first_decided(north: Node, south: Node) -> None:
    await befriended(north, south)
    await north.office.rotate(AuthorityRequest())
    kept = north.authorities.shown
    again = Node(north.folder.parent, "north")
    again.documents = north.documents
    await again.parts.rounds.follow()
    assert again.authorities.shown.authority_pem == kept.authority_pem
    assert again.authorities.told == north.authorities.told


async def test_a_site_that_moved_is_found_by_its_partners(north: Node, south: Node) -> None:
    await befriended(north, south)
    south.parts.operations.answer("echo", echo)
    await south.close()
    south.moved()
    with pytest.raises(errors.Unavailable):
        await north.link.call("south", "echo", b"")
    await south.open()
    await south.parts.rounds.go()
    assert (await north.office.show("south")).partner.address == f"https://{south.settings.partner_listen}"
    assert await north.link.call("south", "echo", b"") == b"north"


async def test_one_that_does_not_answer_for_a_day_is_closed_until_it_does(north: Node, south: Node) -> None:
    await befriended(north, south)
    south.parts.operations.answer("echo", echo)
    await north.book.change(
        "south", lambda known: dataclasses.replace(known, refreshed=known.refreshed - STALE_S - 60)
    )
    with pytest.raises(errors.Refused) as caught:
        await north.link.call("south", "echo", b"")
    assert caught.value.code == "partner.stale"
    await north.parts.rounds.go()
    assert await north.link.call("south", "echo", b"") == b"north"


async def test_an_older_role_document_is_not_believed_again(north: Node, south: Node) -> None:
    await befriended(north, south)
    old = await south.parts.rounds.word.introduction()
    await south.office.rotate(AuthorityRequest())
    known = (await north.office.show("south")).partner
    with pytest.raises(errors.Refused) as caught:
        await north.parts.rounds.answer(known, codec.encoded(old).encode())
    assert caught.value.code == "roles.document.rolled_back"
    stranger = dataclasses.replace(old, site="east")
    with pytest.raises(errors.Refused) as other:
        await north.parts.rounds.answer(known, codec.encoded(stranger).encode())
    assert other.value.code == "partner.root.other"


GOOD = LinkFigures(mtu=1500, round_trip_s=0.02, loss=0.001, rate_out=1e7, rate_in=1e7, measured=0.0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mtu": 1000}, "partner.link.narrow"),
        ({"loss": 0.3}, "partner.link.lossy"),
        ({"round_trip_s": 3.0}, "partner.link.far"),
        ({"rate_in": 1000.0}, "partner.link.slow"),
        ({"rate_out": 1000.0}, "partner.link.slow"),
    ],
)
def test_a_link_that_is_not_good_enough_is_refused_with_what_to_do(
    change: dict[str, float], code: str
) -> None:
    probe.require_fit("south", GOOD, probe.Standards())
    with pytest.raises(errors.Refused) as caught:
        probe.require_fit("south", dataclasses.replace(GOOD, **change), probe.Standards())
    assert caught.value.code == code
    assert caught.value.remedy


async def test_what_a_site_says_of_itself_has_a_form(south: Node) -> None:
    said = codec.plain(await south.parts.rounds.word.introduction())
    for field, value in (
        ("address", "http://south:1"),
        ("address", "https://south/x:1"),
        ("site", "../x"),
        ("authorities", ()),
    ):
        with pytest.raises(errors.Invalid):
            codec.from_plain({**said, field: value}, Introduction)
