"""The control connection: who is let in, what survives its breaks, what a release more or less may say."""

import asyncio
import json
import ssl
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway import rig
from tests.unit.gateway.rig import EXPORT, IMPORT, Site, Workers, job, place

from crossport import errors
from crossport.gateway import agent, desk, hub, office, trust
from crossport.gateway.identity import Kept
from crossport.gateway.wire import Line
from crossport.identity.tls import fingerprint
from crossport.model.artifact import DiskRef
from crossport.transfer.host import Worker

REF = DiskRef(kind="file", locator="/srv/disk", size=4096)
HELLO: dict[str, Any] = {"do": "hello", "versions": [1], "release": "0.1.0", "boot": "b", "jobs": {}}
PROGRESS = {"event": "progress", "done": 1}


async def knocked(site: Site, certificate: str, key: Any, hello: dict[str, Any]) -> dict[str, Any]:
    """Say hello with any certificate; return the site's answer, raise what it says instead."""
    context = trust.gateway_context(site.identity.authority_pem, certificate, key)
    line = await agent.dialled(f"unix:{site.directory / 'node.gate'}", context, "north")
    try:
        await line.send(hello)
        return await agent.answered(line, "welcome")
    finally:
        await line.close()


async def test_a_certificate_of_another_authority_is_refused(site: Site, tmp_path: Path):
    stranger = await rig.opened(tmp_path / "stranger")
    leaf = stranger.identity.issue("gateway", "gw-1")
    with pytest.raises(errors.Unavailable) as caught:
        await knocked(site, leaf.certificate_pem, leaf.key_pem, HELLO)
    assert caught.value.code == "gateway.line.refused"
    await stranger.close()


@pytest.mark.parametrize("role", ["worker", "control", "none"])
async def test_whoever_is_no_gateway_is_refused(site: Site, role: str):
    leaf = site.identity.issue("worker" if role == "none" else role, "gw-1")
    shown = ("", None) if role == "none" else (leaf.certificate_pem, leaf.key_pem)
    with pytest.raises(errors.Refused) as caught:
        await knocked(site, *shown, HELLO)
    assert caught.value.code == "gateway.certificate.role"


async def test_a_gateway_that_never_joined_is_refused_whatever_it_holds(site: Site):
    leaf = site.identity.issue("gateway", "gw-1")
    with pytest.raises(errors.Refused) as caught:
        await knocked(site, leaf.certificate_pem, leaf.key_pem, HELLO)
    assert caught.value.code == "gateway.removed"


async def test_a_second_process_of_the_same_gateway_is_refused(site: Site):
    one = await site.gateway(start=Workers().start)
    with pytest.raises(errors.Conflict) as caught:
        await knocked(site, one.kept.certificate(), one.kept.key(), HELLO | {"boot": "another"})
    assert caught.value.code == "gateway.id.taken"
    assert (await site.hub.gateway("acme", one.id)).connected


async def test_a_removed_gateway_ends_with_its_workers_and_is_not_let_in_again(site: Site):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    async with asyncio.timeout(30):
        async with site.hub.started("send", REF, place()):
            await site.hub.remove("acme", one.id)
            with pytest.raises(errors.Refused) as caught:
                await one.task
            assert caught.value.code == "gateway.removed"
    assert workers.all[0].ended
    with pytest.raises(errors.Refused):
        await knocked(site, one.kept.certificate(), one.kept.key(), HELLO)


async def test_another_node_hears_of_a_removal(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "PING_S", 0.05)
    other = await rig.opened(site.directory, node="other", documents=site.documents)
    one = await site.gateway(start=Workers().start)
    await other.until_connected(one.id)
    await other.hub.remove("acme", one.id)
    async with asyncio.timeout(30):
        with pytest.raises(errors.Refused):
            await one.task
    await other.close()


async def test_a_gateway_is_connected_to_every_node_and_learns_of_new_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "PING_S", 0.05)
    workers = Workers()
    one = await site.gateway(start=workers.start)
    other = await rig.opened(site.directory, node="other", documents=site.documents)
    await other.until_connected(one.id)
    async with asyncio.timeout(30), other.hub.started("send", REF, place()):
        assert len(workers.all) == 1
    assert set(one.kept.membership().nodes) == {"node", "other"}
    await other.close()


async def test_a_worker_is_started_given_its_job_heard_and_ended(site: Site):
    workers = Workers()
    await site.gateway(start=workers.start)
    async with asyncio.timeout(30):
        async with site.hub.started("send", REF, replace(place(), namespace="of-the-site")) as worker:
            [pipe] = workers.all
            assert (worker.certificate, pipe.place.namespace) == ("its certificate", "")
            await worker.give(job().line())
            await worker.give(b'{"do": "rate", "bps": 1}\n')
            seen: list[dict[str, Any]] = []
            for said in (PROGRESS, {"event": "listening", "port": 7}):
                pipe.says.put_nowait(said)
            assert await worker.event("listening", seen.append) == {"event": "listening", "port": 7}
            assert seen == [PROGRESS]
            assert pipe.given[1:] == [b'{"do": "rate", "bps": 1}\n']
        assert pipe.ended


async def test_an_error_of_the_gateway_is_that_of_the_worker(site: Site):
    await site.gateway(start=Workers().start)
    with pytest.raises(errors.Unavailable) as caught:
        async with site.hub.started("send", replace(REF, kind="closed"), place()):
            pass
    assert caught.value.code == "transfer.disk.closed"


async def test_a_worker_that_does_not_begin_in_time_is_unavailable(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(desk, "START_S", 0.05)
    monkeypatch.setattr(desk, "END_S", 0.05)
    kept = await site.joined(await site.enrolled())
    context = trust.gateway_context(site.identity.authority_pem, kept.certificate(), kept.key())
    line = await agent.dialled(f"unix:{site.directory / 'node.gate'}", context, "north")
    await line.send(HELLO)
    await agent.answered(line, "welcome")
    with pytest.raises(errors.Unavailable) as caught:
        async with site.hub.started("send", REF, place()):
            pass
    assert caught.value.code == "gateway.start.late"
    await line.close()


async def test_a_job_that_is_for_another_seat_ends_its_worker(site: Site):
    workers = Workers()
    await site.gateway(start=workers.start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        await worker.give(job(at=place(IMPORT)).line())
        with pytest.raises(errors.Refused) as caught:
            await worker.event("done")
        assert caught.value.code == "transfer.ticket.elsewhere"
        assert workers.all[0].ended


async def test_the_same_copy_begun_again_ends_the_first(site: Site):
    workers = Workers()
    await site.gateway(start=workers.start)
    async with (
        asyncio.timeout(30),
        site.hub.started("send", REF, place()) as first,
        site.hub.started("send", REF, place()) as second,
    ):
        await first.give(job().line())
        await second.give(job(epoch=2, nonce="second").line())
        with pytest.raises(errors.Refused) as caught:
            await first.event("done")
        assert caught.value.code == "transfer.ticket.superseded"
        while not workers.all[0].ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not workers.all[1].ended


async def cut(site: Site, gateway: str) -> None:
    """Break the control connection from below."""
    await site.hub.desks[gateway].cut()
    await site.until_connected(gateway, connected=False)


async def test_a_worker_goes_on_while_the_connection_is_broken_and_nothing_it_said_is_lost(site: Site):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        [pipe] = workers.all
        await worker.give(job().line())
        pipe.says.put_nowait({"event": "listening", "port": 7})
        await worker.event("listening")
        await cut(site, one.id)
        for said in [PROGRESS] * 50 + [{"event": "done", "root": "r"}]:
            pipe.says.put_nowait(said)
        seen: list[dict[str, Any]] = []
        assert (await worker.event("done", seen.append))["root"] == "r"
        assert 1 <= len(seen) <= 50
        assert len(pipe.given) == 1


async def test_what_the_site_says_meanwhile_arrives_once(site: Site):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        await cut(site, one.id)
        await worker.give(job().line())
        await worker.give(b"second\n")
        [pipe] = workers.all
        while len(pipe.given) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await site.until_connected(one.id)
        await cut(site, one.id)
        await site.until_connected(one.id)
        assert pipe.given == [pipe.given[0], b"second\n"]


async def test_a_gateway_that_was_started_anew_has_lost_its_workers(site: Site):
    first = await site.gateway(start=Workers().start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        await first.stop()
        site.run(first.kept, Workers().start)
        with pytest.raises(errors.Unavailable) as caught:
            await worker.event("done")
        assert caught.value.code in {"transfer.worker.died", "transfer.worker.ended"}


async def test_a_worker_whose_site_was_started_anew_goes_on_until_the_copy_is_begun_again(
    site: Site, tmp_path: Path
):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    holding = await site.hub.office.entries("acme")
    assert [entry.id for entry in holding] == [one.id]
    pipe_of = site.hub.started("send", REF, place())
    worker = await pipe_of.__aenter__()
    await worker.give(job().line())
    await site.held.aclose()
    again = await rig.opened(tmp_path, documents=site.documents)
    await again.until_connected(one.id)
    assert not workers.all[0].ended
    async with asyncio.timeout(30), again.hub.started("send", REF, place()) as other:
        await other.give(job(epoch=2, nonce="two").line())
        while not workers.all[0].ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not workers.all[1].ended
    await again.close()
    await pipe_of.__aexit__(None, None, None)


async def test_a_seat_whose_gateway_is_away_is_unavailable_and_nobody_takes_its_place(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "PATIENCE_S", 0.05)
    await site.joined(await site.enrolled())
    with pytest.raises(errors.Unavailable) as caught:
        async with site.hub.started("send", REF, place()):
            pass
    assert caught.value.code == "gateway.away"


async def test_a_draining_gateway_begins_nothing_and_ends_nothing(site: Site):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as worker:
        await site.hub.drain("acme", one.id)
        with pytest.raises(errors.Unavailable) as caught:
            async with site.hub.started("send", REF, place()):
                pass
        assert caught.value.code == "gateway.draining"
        await worker.give(job().line())
        workers.all[0].says.put_nowait({"event": "done"})
        await worker.event("done")
        second = await site.gateway(start=workers.start)
        async with site.hub.started("send", REF, place()):
            assert second.jobs.running == 1


async def test_a_draining_gateway_says_what_runs_there_and_refuses_what_another_node_begins(
    site: Site,
):
    workers = Workers()
    other = await rig.opened(site.directory, node="other", documents=site.documents)
    one = await site.gateway(start=workers.start)
    await other.until_connected(one.id)
    async with asyncio.timeout(30), other.hub.started("send", REF, place()):
        # Nobody has asked since the worker began.
        assert (await site.hub.gateway("acme", one.id)).jobs == 1
        assert (await site.hub.drain("acme", one.id)).jobs == 1
        late = await other.hub.desks[one.id].open("send", REF, place())
        with pytest.raises(errors.Unavailable) as caught:
            await late.begun()
        assert caught.value.code == "gateway.draining"
    assert (await site.hub.gateway("acme", one.id)).jobs == 0
    assert one.jobs.draining
    await cut(site, one.id)
    await site.until_connected(one.id)
    assert one.jobs.draining
    await other.close()


async def test_a_gateway_that_does_not_say_what_runs_there_is_waited_for_a_moment_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(desk, "COUNT_S", 0.05)
    kept = await site.joined(await site.enrolled())
    context = trust.gateway_context(site.identity.authority_pem, kept.certificate(), kept.key())
    line = await agent.dialled(f"unix:{site.directory / 'node.gate'}", context, "north")
    await line.send(HELLO)
    await agent.answered(line, "welcome")
    assert (await site.hub.drain("acme", kept.membership().gateway)).connected
    await line.close()


async def test_a_seat_without_a_gateway_is_served_by_the_site_s_own_machine(site: Site, tmp_path: Path):
    await site.gateway(IMPORT, Workers().start)
    (tmp_path / "disk").write_bytes(bytes(4096))
    ref = DiskRef(kind="file", locator=str(tmp_path / "disk"), size=4096)
    async with site.hub.started("digest", ref, place(EXPORT)) as worker:
        assert isinstance(worker, Worker)
        assert "BEGIN CERTIFICATE" in worker.certificate


async def test_a_gateway_keeps_the_journal_of_a_copy_until_the_run_is_forgotten(site: Site):
    workers = Workers()
    await site.gateway(IMPORT, workers.start)
    for journal in [("run-1", "disk-0"), ("run-1", "disk-0"), ("run-1", "disk-1"), None]:
        async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), journal):
            pass
    assert workers.found == [0, 1, 0, 0]
    await site.hub.forget("run-1")
    async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), ("run-1", "disk-0")):
        pass
    assert workers.found[-1] == 0


async def test_a_gateway_opens_the_stock_that_its_site_names_for_a_tenant(site: Site):
    workers = Workers()
    one = await site.gateway(IMPORT, workers.start)
    for stock in ("of acme", "of acme", "of others", ""):
        async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), None, stock):
            pass
    keys = [access.key if access else None for access in workers.stocks]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] is None
    assert len(list((one.kept.directory / "stocks").glob("*/chunks"))) == 2


async def test_a_gateway_lets_a_worker_at_the_images_that_its_site_names_but_not_at_its_key(site: Site):
    workers = Workers()
    one = await site.gateway(IMPORT, workers.start)
    image = DiskRef(kind="nbd", locator="unix:/somewhere/else?export=image", size=1, identity="image")
    async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), None, "acme", (image,)):
        pass
    assert workers.published == [(image,)]
    key = DiskRef(kind="file", locator=str(one.kept.directory / "key.pem"), size=1)
    with pytest.raises(errors.Refused) as caught:
        async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), None, "acme", (key,)):
            pass
    assert caught.value.code == "gateway.disk.outside"


async def test_a_certificate_is_renewed_at_half_its_life_and_the_old_one_works_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "PING_S", 0.03)
    with monkeypatch.context() as short:
        short.setattr(office, "LIFETIME_S", 60.0)  # more than half of it is over: it begins five minutes ago
        one = await site.gateway(start=Workers().start)
    before = one.kept.certificate()
    async with asyncio.timeout(30):
        while one.kept.certificate() == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    entry = await site.hub.office.entry("acme", one.id)
    assert entry.fingerprints == tuple(map(fingerprint, (before, one.kept.certificate())))
    await cut(site, one.id)
    await site.until_connected(one.id)


RECORDED = Path(__file__).with_name("recorded")


@pytest.mark.parametrize("release", ["older", "newer"])
async def test_a_gateway_of_another_release_is_understood(site: Site, release: str):
    """What such a gateway says was recorded: an older one says less, a newer one speaks of unknown things."""
    kept = await site.joined(await site.enrolled())
    lines = [json.loads(line) for line in (RECORDED / f"{release}.jsonl").read_text().splitlines()]
    context = trust.gateway_context(site.identity.authority_pem, kept.certificate(), kept.key())
    line = await agent.dialled(f"unix:{site.directory / 'node.gate'}", context, "north")
    try:
        await line.send(lines[0])
        assert (await line.receive())["version"] == 1
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(_copied(site))
            await _played(line, lines[1:])
        assert copying.result()["root"] == "abc"
    finally:
        await line.close()


async def _copied(site: Site) -> dict[str, Any]:
    async with site.hub.started("send", REF, place()) as worker:
        await worker.give(job().line())
        return await worker.event("done")


async def _played(line: Line, lines: list[dict[str, Any]]) -> None:
    """Say the recorded lines, each when the site has said what its ``after`` names."""
    for recorded in lines:
        after = recorded.pop("after", "")
        while after and (await line.receive())["do"] != after:
            pass
        await line.send(recorded)


async def test_a_gateway_too_far_away_in_releases_is_told_so(site: Site):
    kept = await site.joined(await site.enrolled())
    for versions in ([2, 3], [], "1", None):
        with pytest.raises(errors.Refused) as caught:
            await knocked(site, kept.certificate(), kept.key(), HELLO | {"versions": versions})
        assert caught.value.code == "gateway.version.unknown"


async def said(site: Site, context: ssl.SSLContext, data: bytes) -> dict[str, Any]:
    """Send bytes that are no message; return the site's answer."""
    reader, writer = await asyncio.open_unix_connection(
        site.directory / "node.gate", ssl=context, server_hostname=""
    )
    writer.write(data)
    answer = await Line(reader, writer).receive()
    await Line(reader, writer).close()
    return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"null\n",
        b'{"do": 7}\n',
        b'{"do": "hello"}\n',
        b"{" * 9000 + b"\n",
    ],
    ids=["http", "list", "null", "number", "bare hello", "deep"],
)
async def test_garbage_ends_one_connection_and_nothing_else(site: Site, garbage: bytes):
    one = await site.gateway(start=Workers().start)
    context = trust.gateway_context(site.identity.authority_pem, one.kept.certificate(), one.kept.key())
    assert (await said(site, context, garbage))["do"] == "refused"
    assert (await site.hub.gateway("acme", one.id)).connected


async def test_an_endless_line_is_refused_before_it_fills_memory(site: Site):
    context = trust.gateway_context(site.identity.authority_pem)
    answer = await said(site, context, b"x" * (2 << 20))
    assert (answer["do"], answer["code"]) == ("refused", "gateway.message.large")


async def test_a_state_directory_has_one_process(site: Site):
    kept = await site.joined(await site.enrolled())
    with kept.owned(), pytest.raises(errors.Conflict) as caught, ExitStack() as second:
        second.enter_context(Kept(kept.directory).owned())
    assert caught.value.code == "gateway.state.owned"
