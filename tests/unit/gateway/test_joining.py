"""How a gateway joins its site, and everybody who must not."""

import asyncio
import base64
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.gateway import rig
from tests.unit.gateway.rig import Site

from crossport import errors
from crossport.gateway import agent, listener, trust
from crossport.gateway.identity import Kept
from crossport.gateway.join import packed, unpacked
from crossport.gateway.wire import Line
from crossport.model.gateway import EnrollRequest


async def test_the_key_is_made_here_kept_privately_and_certified_for_this_gateway(site: Site):
    enrolment = await site.enrolled()
    kept = await site.joined(enrolment)
    for file in ("key.pem", "certificate.pem", "membership.json"):
        assert stat.S_IMODE((kept.directory / file).stat().st_mode) == 0o600
    assert "PRIVATE" in kept.key().reveal()
    assert "PRIVATE" not in repr(site.documents.__dict__)
    begins, ends = kept.validity()
    assert 29 * 86400 < ends - begins < 31 * 86400
    assert kept.membership().site == "north"


async def test_the_site_keeps_only_a_hash_of_the_token(site: Site):
    enrolment = await site.enrolled()
    token = unpacked(enrolment.join).token
    assert len(base64.urlsafe_b64decode(token.removeprefix("xp_") + "=")) == 32
    assert token not in repr(site.documents.__dict__)


async def test_a_token_is_good_once(site: Site, tmp_path: Path):
    enrolment = await site.enrolled()
    await site.joined(enrolment)
    with pytest.raises(errors.Refused) as caught:
        await site.joined(enrolment, tmp_path / "thief")
    assert caught.value.code == "gateway.token.used"


async def test_a_token_expires(site: Site):
    enrolment = await site.enrolled()
    site.clock.ahead_s = 601
    with pytest.raises(errors.Refused) as caught:
        await site.joined(enrolment)
    assert caught.value.code == "gateway.token.expired"


async def test_a_token_of_another_gateway_is_not_known(site: Site):
    first, second = await site.enrolled(), await site.enrolled()
    stolen = replace(unpacked(first.join), token=unpacked(second.join).token)
    with pytest.raises(errors.Refused) as caught:
        await agent.join(stolen, Kept(site.directory / "gateway" / stolen.gateway))
    assert caught.value.code == "gateway.token.unknown"


@pytest.mark.parametrize("token", ["", "xp_short", "xp_" + "A" * 43])
async def test_a_token_that_was_made_up_is_not_known(site: Site, token: str):
    guessed = replace(unpacked((await site.enrolled()).join), token=token)
    with pytest.raises(errors.Refused) as caught:
        await agent.join(guessed, Kept(site.directory / "gateway" / guessed.gateway))
    assert caught.value.code == "gateway.token.unknown"


async def test_a_site_with_another_authority_is_not_joined(site: Site, tmp_path: Path):
    intruder = await rig.opened(tmp_path / "intruder", node="gate")
    enrolment = await site.enrolled()
    lured = replace(
        unpacked(enrolment.join), nodes={"node": (f"unix:{tmp_path / 'intruder' / 'gate.gate'}",)}
    )
    with pytest.raises(errors.Refused) as caught:
        await agent.join(lured, Kept(site.directory / "gateway" / lured.gateway))
    assert caught.value.code == "gateway.site.untrusted"
    await intruder.close()


async def test_an_exchanged_line_is_found_by_the_fingerprint(site: Site, tmp_path: Path):
    intruder = await rig.opened(tmp_path / "intruder")
    exchanged = await intruder.enrolled()
    with pytest.raises(errors.Refused) as caught:
        unpacked(exchanged.join, (await site.enrolled()).fingerprint)
    assert caught.value.code == "gateway.join.authority"
    await intruder.close()


@pytest.mark.parametrize("cut", [0, 5, 20, 200, -20])
async def test_a_damaged_line_is_told_as_that(site: Site, cut: int):
    with pytest.raises(errors.Invalid) as caught:
        unpacked((await site.enrolled()).join[:cut])
    assert (caught.value.code, caught.value.field) == ("gateway.join.unreadable", "join")


async def test_a_line_of_a_newer_release_says_what_to_do(site: Site):
    line = (await site.enrolled()).join.replace("crossport-join-1", "crossport-join-2")
    with pytest.raises(errors.Invalid) as caught:
        unpacked(line)
    assert caught.value.code == "gateway.join.newer"


async def test_a_gateway_s_id_cannot_name_another_folder(site: Site):
    line = packed(replace(unpacked((await site.enrolled()).join), gateway="../../etc"))
    with pytest.raises(errors.Invalid):
        unpacked(line)


async def test_a_site_that_does_not_listen_enrolls_nobody(site: Site):
    site.clock.ahead_s = 31 * 86400
    with pytest.raises(errors.Conflict) as caught:
        await site.hub.enroll("acme", EnrollRequest(cloud="alpha", subnet=rig.EXPORT))
    assert caught.value.code == "gateway.site.closed"


async def test_whoever_answers_must_be_the_control_plane_and_not_some_process_of_the_site(
    site: Site, tmp_path: Path
):
    # A worker or a gateway has a certificate of the same authority.
    leaf = site.identity.issue("gateway", "gw-1")
    context = trust.site_context(site.identity.authority_pem, leaf.certificate_pem, leaf.key_pem)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Line(reader, writer).close()

    server = await asyncio.start_unix_server(answer, tmp_path / "other", ssl=context)
    with pytest.raises(errors.Refused) as caught:
        await agent.dialled(
            f"unix:{tmp_path / 'other'}", trust.gateway_context(site.identity.authority_pem), "north"
        )
    assert caught.value.code == "gateway.site.foreign"
    server.close()


async def test_a_gateway_on_another_machine_joins_and_connects_by_an_address(site: Site, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    doors = listener.Doors(tmp_path / "gate", "127.0.0.1", port, (f"127.0.0.1:{port}",))
    async with listener.listening(site.hub, site.identity, doors, "node", site.clock):
        invitation = unpacked((await site.enrolled()).join)
        remote = replace(invitation, nodes={"node": (f"127.0.0.1:{port}",)})
        kept = Kept(tmp_path / "gateway" / remote.gateway)
        await agent.join(remote, kept)
        assert f"127.0.0.1:{port}" in kept.membership().nodes["node"]
        (tmp_path / "gate").unlink()
        running = site.run(kept)
        await site.until_connected(running.id)
        await running.stop()


async def test_an_address_that_is_taken_is_told_with_its_setting(site: Site, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        doors = listener.Doors(tmp_path / "gate", "127.0.0.1", taken.getsockname()[1])
        opening = listener.listening(site.hub, site.identity, doors, "node", site.clock)
        with pytest.raises(errors.Unavailable) as caught:
            await opening.__aenter__()
    assert (caught.value.code, caught.value.field) == ("gateway.listen.taken", "gateway_listen")
