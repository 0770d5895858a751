"""What strangers, a gateway with a stolen certificate, and a bad site can do: little, and not for long."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.gateway.rig import IMPORT, RunningGateway, Site, Workers, job, place
from tests.unit.gateway.test_control import HELLO, PROGRESS, REF
from tests.unit.gateway.test_keeping import until

from crossport import errors
from crossport.gateway import agent, desk, hub, jobs, listener, trust, wire
from crossport.gateway.desk import Desk, RemotePipe
from crossport.gateway.identity import Kept
from crossport.gateway.wire import Line
from crossport.model.artifact import Way
from crossport.transfer.host import Worker
from crossport.transfer.pair import Settings, introduce


def door(site: Site) -> str:
    return str(site.directory / "node.gate")


async def secured(site: Site, kept: Kept | None = None) -> Line:
    """Connect to the site's door: as the gateway that is kept, or as a stranger."""
    shown = (kept.certificate(), kept.key()) if kept else ("", None)
    context = trust.gateway_context(site.identity.authority_pem, *shown)
    return await agent.dialled(f"unix:{door(site)}", context, "north")


@asynccontextmanager
async def as_gateway(site: Site, **hello: Any) -> AsyncGenerator[Line]:
    """Be a gateway that says what the test says."""
    line = await secured(site, await site.joined(await site.enrolled()))
    await line.send(HELLO | hello)
    yield line
    await line.close()


async def refusal(line: Line) -> str:
    """Return the code with which the site sends one away, whatever it says before."""
    async with asyncio.timeout(30):
        while (message := await line.receive())["do"] != "refused":
            pass
    return str(message["code"])


@pytest.mark.parametrize("handshake", [True, False], ids=["silent", "before the handshake"])
async def test_a_flood_of_strangers_keeps_no_gateway_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, handshake: bool
):
    monkeypatch.setattr(listener, "STRANGERS", 4)
    plain: list[socket.socket] = []
    lines: list[Line] = []
    for _ in range(20):
        if handshake:
            lines.append(await secured(site))
        else:
            plain.append(one := socket.socket(socket.AF_UNIX))
            one.connect(door(site))
    async with asyncio.timeout(30):
        await site.gateway(start=Workers().start)
    # The first of them had to go.
    if handshake:
        with pytest.raises(errors.Unavailable):
            await lines[0].receive()
    for line in lines:
        await line.close()
    for one in plain:
        one.close()


async def test_a_stranger_who_is_slow_is_sent_away(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "HELLO_S", 0.2)
    context = trust.gateway_context(site.identity.authority_pem)
    reader, writer = await asyncio.open_unix_connection(door(site), ssl=context, server_hostname="")

    async def drip() -> None:
        while True:
            writer.write(b"{")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(30):
        await reader.read()
    dripping.cancel()
    writer.close()


async def test_a_stranger_may_say_little(site: Site):
    line = await secured(site)
    await line.send({"do": "join", "token": "x" * listener.STRANGER_LINE})
    assert await refusal(line) == "gateway.message.large"
    await line.close()


async def test_a_gateway_that_takes_nothing_holds_nobody_up(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "STALLED_S", 0.1)
    workers = Workers()
    other = await site.gateway(IMPORT, workers.start)
    async with as_gateway(site) as line:
        await agent.answered(line, "welcome")
        # It does not read from here on, until its buffers and ours are full.
        [stalled] = [one for name, one in site.hub.desks.items() if name != other.id]
        async with asyncio.timeout(20):
            while stalled.connected:
                await stalled.send({"do": "ping", "pad": "x" * 100_000})
        async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), ("run-1", "disk-0")):
            pass
        async with asyncio.timeout(30):
            await site.hub.forget("run-1")
            await site.hub.remove("acme", stalled.gateway)


def pipe() -> RemotePipe:
    return RemotePipe(Desk("gw-1", Clock(), listed), "1", "the worker")


async def listed() -> bool:
    return True


class Clock:
    """A clock that stands still."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps {seconds} s by this clock")


async def test_progress_that_nobody_reads_takes_no_memory():
    told = pipe()
    for number in range(10_000):
        told.tell(PROGRESS | {"done": number})
    told.tell({"event": "done"})
    assert [await told.said(), await told.said()] == [PROGRESS | {"done": 9999}, {"event": "done"}]


async def test_other_words_that_nobody_reads_are_refused_before_they_fill_memory():
    told = pipe()
    for _ in range(desk.TOLD_MAX):
        told.tell({"event": "listening"})
    with pytest.raises(errors.Broken) as caught:
        told.tell({"event": "listening"})
    assert caught.value.code == "gateway.told.much"
    told.lose(errors.Unavailable("transfer.worker.died", "It died."))
    with pytest.raises(errors.Unavailable):
        await Worker(told).event("done")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"do": "told", "job": "1", "event": {"text": "x" * hub.GATEWAY_LINE}}, "gateway.message.large"),
        ({"do": "told", "job": "1", "number": 1, "event": "done"}, "gateway.message.malformed"),
        ({"do": "pong", "jobs": -1}, "gateway.message.malformed"),
        ({"do": "pong", "jobs": 1 << 60}, "gateway.message.malformed"),
        ({"do": "forgot", "run": "r" * 300}, "gateway.message.malformed"),
        ({"do": "renew", "request": "-----BEGIN"}, "identity.request.invalid"),
    ],
    ids=["large", "no event", "negative", "huge", "long", "no request"],
)
async def test_a_gateway_that_speaks_nonsense_is_sent_away(site: Site, message: dict[str, Any], code: str):
    async with as_gateway(site) as line:
        await agent.answered(line, "welcome")
        await line.send(message)
        assert await refusal(line) == code


@pytest.mark.parametrize(
    "hello",
    [{"release": "0.1\x1b[2J"}, {"boot": "a\nb"}, {"jobs": []}, {"shelves": [1]}, {"release": "\x07"}],
    ids=["escape", "newline", "jobs", "shelves", "bell"],
)
async def test_a_greeting_that_would_deface_a_terminal_is_refused(site: Site, hello: dict[str, Any]):
    async with as_gateway(site, **hello) as line:
        assert await refusal(line) == "gateway.message.malformed"


async def test_a_gateway_gets_one_certificate_in_a_while_however_often_it_asks(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "PING_S", 0.2)
    async with as_gateway(site) as line:
        await agent.answered(line, "welcome")
        for _ in range(50):
            await line.send({"do": "renew", "request": trust.request_for(trust.new_key())})
        said: list[str] = []
        async with asyncio.timeout(30):
            while said.count("ping") < 2:
                said.append(str((await line.receive())["do"]))
        assert said.count("certificate") == 1


@pytest.mark.parametrize("port", [0, 65536, 1 << 40])
async def test_a_port_that_is_none_is_refused_before_anybody_dials_it(port: int):
    listens, dials = pipe(), pipe()
    listens.tell({"event": "listening", "port": port})
    read, write = job(Way.READ).ticket, job(Way.WRITE).ticket
    with pytest.raises(errors.Broken) as caught:
        await introduce(Settings(), (read, write), (Worker(dials), Worker(listens)))
    assert caught.value.code == "transfer.worker.malformed"
    assert dials.outbox.rest() == ()


# A site gone bad.
async def told_by_a_bad_site(site: Site, one: RunningGateway, *messages: dict[str, Any]) -> set[str]:
    """Let the site say something to a gateway; return with which codes that ends its lines, if it does."""
    with capture_logs() as told:
        for message in messages:
            await site.hub.desks[one.id].send(message)
        await until(lambda: any("code" in line and line["event"] == "not connected" for line in told))
        return {line["code"] for line in told if line["event"] == "not connected"}


async def test_a_site_cannot_make_a_gateway_dial_the_world(site: Site):
    one = await site.gateway(start=Workers().start)
    nodes = {f"node-{number}": [f"192.0.2.1:{number}"] for number in range(100)}
    assert await told_by_a_bad_site(site, one, {"do": "ping", "nodes": nodes}) == {
        "gateway.message.malformed"
    }
    addresses = {"node-1": [f"192.0.2.1:{number}" for number in range(100)]}
    await site.until_connected(one.id)
    assert await told_by_a_bad_site(site, one, {"do": "ping", "nodes": addresses}) == {
        "gateway.message.malformed"
    }
    assert set(one.kept.membership().nodes) == {"node"}


async def test_a_site_cannot_take_a_gateway_s_certificate_away(site: Site):
    one = await site.gateway(start=Workers().start)
    before = one.kept.certificate()
    foreign = site.identity.certify(trust.request_for(trust.new_key()), "gateway", one.id, lifetime_s=60)
    for certificate in (
        "",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        foreign.certificate_pem,
    ):
        await site.until_connected(one.id)
        found = await told_by_a_bad_site(site, one, {"do": "certificate", "certificate": certificate})
        assert found == {"gateway.certificate.unfit"}
    assert one.kept.certificate() == before


async def test_a_site_that_hears_nothing_cannot_make_a_gateway_keep_more_and_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "JOBS_KEPT", 5)
    one = await site.gateway(start=Workers().start)
    place_ = {"cloud": "alpha", "subnet": "", "address": ""}
    sound = {"way": "send", "ref": {"kind": "file", "locator": "/x", "size": 1}, "place": place_}
    more = [{"do": "start", "job": f"y{number}", "number": 1, **sound} for number in range(20)]
    assert "gateway.jobs.many" in await told_by_a_bad_site(site, one, *more)
    assert one.jobs.running <= 5
