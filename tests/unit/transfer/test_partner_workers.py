"""What a partner can do to the site whose disks it copies: what its tickets say, for as long as it is there.

North is the partner, and speaks to south's workers itself. South's workers are scripted.
"""

import asyncio
import contextlib
import itertools
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.transfer.two_sites import (
    CERTIFICATE,
    DISK,
    NORTH,
    SOUTH,
    Scripted,
    ScriptedHost,
    Site,
    from_south,
    gone,
    heard,
    job,
    opened,
    ticket,
    two_sites,
)

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import DiskRef, Heat, Way
from crossport.spi.partner import Lines
from crossport.transfer.job import MAX_LINE, End, Job
from crossport.transfer.manner import Manner
from crossport.transfer.partner import grant, service, talk


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


@pytest.fixture
def south(host: ScriptedHost) -> Site:
    _, south = two_sites(ScriptedHost(), host)
    return south


async def refusal(lines: Lines) -> str:
    """Return the code with which a worker ends, whatever is said before."""
    while (said := await heard(lines))["event"] != "failed":
        pass
    assert await heard(lines) == {"event": "ended"}
    assert await lines.receive() is None
    return said["code"]


async def begun(south: Site, host: ScriptedHost, lines: Lines, line: bytes) -> Scripted:
    """Let a worker begin with a job; return it once it was given that."""
    assert (await heard(lines))["event"] == "started"
    await lines.send(line.rstrip(b"\n"))
    worker = host.all[-1]
    while not worker.given:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return worker


async def test_a_worker_starts_where_the_ticket_says_and_gets_this_site_s_own_job(
    south: Site, host: ScriptedHost
):
    own = ticket()
    shown = await from_south(south, own)
    invented = DiskRef(kind="file", locator="/etc/shadow", size=DISK.size)
    lie = replace(shown, ref=invented, place=replace(shown.place, namespace="host", address="127.0.0.1"))
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(
            south, host, lines, job(replace(lie, published=(invented,)), hello=job(shown).hello).line()
        )
        got = Job.of(worker.given[0])
    way, ref, place, journal, stock, published = worker.started
    assert (way, ref, journal) == ("receive", DISK, ("south/run-1", "disk-0"))
    assert (place.namespace, place.tenant, place.site) == ("cp-1", "southern", "")
    assert published == own.published == got.ticket.published
    assert stock == south.names.stock("southern", NORTH)
    assert (got.ticket.ref, got.ticket.place) == (ref, place)
    assert (got.hello.tenant, got.hello.run) == ("southern", "south/run-1")
    assert got.spoken == ("acme", "run-1")
    assert got.end == End(CERTIFICATE, "100.96.0.9", 0)
    await gone(south)
    assert worker.ended.is_set()


async def test_what_a_partner_sees_of_a_ticket_tells_nothing_of_this_site(south: Site):
    shown = await from_south(south, ticket())
    said = codec.encoded(shown)
    for word in ("/srv", "cp-1", "southern", "south/run-1", "v-1", "base"):
        assert word not in said
    assert (shown.place.site, shown.place.called) == (SOUTH, "beta@south")
    assert (shown.ref.kind, shown.ref.size, bool(shown.ref.identity)) == ("partner", DISK.size, True)


@pytest.mark.parametrize("case", ["unknown", "another's", "way", "expired", "forgotten", "replaced"])
async def test_a_ticket_that_does_not_hold_starts_nothing(south: Site, host: ScriptedHost, case: str):
    own = ticket(expires=time.time() - 1) if case == "expired" else ticket()
    shown = await from_south(south, own)
    word, way, partner = shown.ref.locator, Way.WRITE, NORTH
    code = "transfer.ticket.unknown"
    match case:
        case "unknown":
            word = f"{word}0"
        case "another's":
            south.world.accept("west", SOUTH)
            partner = "west"
        case "way":
            way, code = Way.READ, "transfer.ticket.way"
        case "expired":
            code = "transfer.ticket.expired"
        case "forgotten":
            await south.workers.forget("south/run-1")
        case _:
            await from_south(south, ticket())
    async with opened(south, word, way, partner) as lines:
        assert await refusal(lines) == code
    assert host.all == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"run": "run-2"},
        {"artifact": "disk-1"},
        {"epoch": 2},
        {"size": DISK.size + 1},
        {"size": -1},
        {"chunk_size": 1},
        {"chunk_size": 1 << 30},
    ],
    ids=str,
)
async def test_a_job_of_another_copy_than_the_ticket_s_is_refused(
    south: Site, host: ScriptedHost, changes: dict[str, Any]
):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        await heard(lines)
        sound = job(shown)
        await lines.send(replace(sound, hello=replace(sound.hello, **changes)).line().rstrip())
        assert await refusal(lines) == "transfer.ticket.foreign"
    assert (host.all[0].given, host.all[0].ended.is_set()) == ([], True)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 5000),
        ("::1", 5000),
        ("::ffff:127.0.0.1", 5000),
        ("169.254.169.254", 5000),
        ("0.0.0.0", 5000),  # noqa: S104 - nobody binds to it
        ("224.0.0.1", 5000),
        ("localhost", 5000),
        ("100.96.0.1", 22),
        ("100.96.0.1", 70000),
    ],
)
async def test_a_worker_does_not_knock_where_a_partner_likes(
    south: Site, host: ScriptedHost, address: str, port: int
):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        await heard(lines)
        await lines.send(job(shown, end=End(CERTIFICATE, address, port)).line().rstrip())
        assert await refusal(lines) == "transfer.peer.address"
    assert host.all[0].given == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"x" * (MAX_LINE - 10),
        json.dumps({"hello": {"spoken": 1}}).encode(),
    ],
    ids=["empty", "list", "none", "deep", "long", "words"],
)
async def test_what_is_no_job_starts_no_copy(south: Site, host: ScriptedHost, line: bytes):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        await heard(lines)
        await lines.send(line)
        assert await refusal(lines) == "partner.job.malformed"
    assert (host.all[0].given, host.all[0].ended.is_set()) == ([], True)


@pytest.mark.parametrize(
    "changes",
    [
        {"end": End("no certificate", "100.96.0.1", 0)},
        {"end": End(CERTIFICATE * 2, "100.96.0.1", 0)},
        {"end": End(CERTIFICATE + "x" * 20_000, "100.96.0.1", 0)},
    ],
    ids=["none", "two", "long"],
)
async def test_a_peer_is_one_certificate(south: Site, host: ScriptedHost, changes: dict[str, Any]):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        await heard(lines)
        await lines.send(job(shown, **changes).line().rstrip())
        assert await refusal(lines) == "partner.job.malformed"
    assert host.all[0].given == []


async def test_a_partner_s_patience_is_bounded(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    patient = job(
        shown, manner=Manner(10_000, 1e9, 10_000), disk_timeout_s=1e9, idle_s=float("inf"), connect_s=-1.0
    )
    async with opened(south, shown.ref.locator) as lines:
        got = Job.of((await begun(south, host, lines, patient.line())).given[0])
    assert (got.disk_timeout_s, got.idle_s, got.connect_s) == (60.0, 60.0, 1.0)
    assert got.manner == Manner(16, 600.0, 100)


async def test_who_receives_chooses_the_key_for_this_tenant_and_partner(south: Site, host: ScriptedHost):
    keys = set[bytes]()
    for partner, tenant in itertools.product((NORTH, "west", ""), ("southern", "other")):
        keys |= {south.names.key(tenant, partner), south.names.stock(tenant, partner).encode()}
    assert len(keys) == 12
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        started = await heard(lines)
        assert bytes.fromhex(started["names_key"]) == south.names.key("southern", NORTH)
        await lines.send(job(shown).line().rstrip())
        while not host.all[0].given:  # noqa: ASYNC110
            await asyncio.sleep(0)
    # Whatever key the partner said: with another one it would look into another content.
    assert bytes.fromhex(Job.of(host.all[0].given[0]).names_key) == south.names.key("southern", NORTH)


async def test_who_sends_goes_by_the_receiver_s_key_and_heat(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket(Way.READ, published=()))
    told = replace(shown, heat=(Heat(0, 4096, 2, owed=True),), defers=True)
    async with opened(south, shown.ref.locator, Way.READ) as lines:
        got = Job.of((await begun(south, host, lines, job(told).line())).given[0])
    assert (got.names_key, got.ticket.heat, got.ticket.defers) == ("aa" * 32, told.heat, True)
    assert host.all[0].started[:5] == ("send", DISK, got.ticket.place, ("south/run-1", "disk-0 read"), "")
    shown = await from_south(south, ticket(Way.READ, published=()))
    beyond = replace(shown, heat=(Heat(DISK.size, 4096, 2),))
    async with opened(south, shown.ref.locator, Way.READ) as lines:
        await heard(lines)
        await lines.send(job(beyond).line().rstrip())
        assert await refusal(lines) == "partner.job.malformed"


async def test_a_ticket_runs_one_worker_at_a_time_and_not_for_ever(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    word = shown.ref.locator
    async with contextlib.AsyncExitStack() as stack:
        for number in range(grant.STARTS_MAX):
            lines = await stack.enter_async_context(opened(south, word))
            assert (await heard(lines))["event"] == "started"
            assert [one.ended.is_set() for one in host.all] == [True] * number + [False]
        async with opened(south, word) as late:
            assert await refusal(late) == "transfer.ticket.replayed"
    await gone(south)
    assert len(host.all) == grant.STARTS_MAX


async def test_a_higher_epoch_ends_the_worker_of_a_lower_one(south: Site, host: ScriptedHost):
    first = await from_south(south, ticket())
    async with opened(south, first.ref.locator) as lines:
        await heard(lines)
        second = await from_south(south, ticket(epoch=2))
        async with opened(south, second.ref.locator) as newer:
            await heard(newer)
            assert await refusal(lines) == "transfer.ticket.superseded"
    with pytest.raises(errors.Refused) as caught:
        await from_south(south, ticket(epoch=1))
    assert caught.value.code == "transfer.ticket.old"


async def test_a_partner_runs_so_many_workers_and_no_more(
    south: Site, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service, "WORKERS_MAX", 2)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(3):
            shown = await from_south(south, ticket(artifact=f"disk-{number}"))
            lines = await stack.enter_async_context(opened(south, shown.ref.locator))
            if number < 2:
                await heard(lines)
            else:
                assert await refusal(lines) == "partner.workers.full"


async def test_a_partner_holds_so_many_tickets_and_no_more(south: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grant, "TICKETS_MAX", 2)
    await from_south(south, ticket(artifact="old", expires=time.time() - 1))
    for number in (0, 1, 1):
        await from_south(south, ticket(artifact=f"disk-{number}"))
    with pytest.raises(errors.Unavailable) as caught:
        await from_south(south, ticket(artifact="disk-2"))
    assert caught.value.code == "partner.tickets.many"


async def test_a_flood_of_orders_ends_the_worker(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        with contextlib.suppress(errors.Unavailable):  # south ends it
            while True:
                await lines.send(b'{"do": "rate", "bps": 1}')
        assert await refusal(lines) == "partner.worker.flood"
    assert len(worker.given) <= 202


@pytest.mark.parametrize(
    "order",
    [b'{"do": "rate", "bps": 0}', b'{"do": "rate", "bps": "much"}', b"[]", b"{" * 1000, b'"' + b"x" * 2000],
    ids=["zero", "word", "list", "deep", "long"],
)
async def test_an_order_that_is_none_ends_the_worker(south: Site, host: ScriptedHost, order: bytes):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        await lines.send(order)
        assert await refusal(lines) == "partner.worker.malformed"
    assert (len(worker.given), worker.ended.is_set()) == (1, True)


async def test_an_opening_that_is_none_starts_nothing(south: Site, host: ScriptedHost):
    north = south.world.site(NORTH)
    for opening, code in (
        (b"x" * 5000, "partner.worker.malformed"),
        (b"{", "input.field.invalid"),
        (b'{"ticket": "a", "way": "write", "version": 2}', "partner.worker.version"),
        (b'{"ticket": "a", "way": "write", "ref": "/dev/sda"}', "input.field.invalid"),
    ):
        async with asyncio.timeout(30), north.stream(SOUTH, talk.OPERATION, opening) as lines:
            assert await refusal(lines) == code
    assert host.all == []


async def test_a_worker_ends_with_the_stream_of_its_partner(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        assert not worker.ended.is_set()
    await gone(south)
    assert worker.ended.is_set()


async def test_a_run_that_is_forgotten_ends_its_workers(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        await south.mover.forget("south/run-1")
        assert await refusal(lines) == "transfer.ticket.superseded"
    assert worker.ended.is_set()


async def test_what_a_worker_asks_about_the_web_is_answered_here(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        worker.says.put_nowait({"event": "reach", "url": "https://internal.example/secret"})
        worker.says.put_nowait({"event": "progress", "done": 1})
        assert await heard(lines) == {"event": "progress", "done": 1}
        answer = json.loads(worker.given[1])
    assert (answer["do"], "address" in answer) == ("reach", False)


async def test_a_failure_does_not_tell_where_things_lie(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        failed = {"event": "failed", "kind": "Unavailable", "code": "transfer.disk.closed"}
        worker.says.put_nowait(
            failed | {"text": "There is no /srv/clouds/beta/disk-0.sock.", "remedy": "Look."}
        )
        said = await heard(lines)
    assert said == {**failed, "text": "There is no (a path)", "remedy": "Look.", "field": ""}


async def test_rates_and_events_pass(south: Site, host: ScriptedHost):
    shown = await from_south(south, ticket(Way.READ, published=()))
    async with opened(south, shown.ref.locator, Way.READ) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        for bps in (1000, None):
            await lines.send(json.dumps({"do": "rate", "bps": bps, "more": 1}).encode())
        await lines.send(b'{"do": "dance"}')
        for event in ({"event": "listening", "port": 5000}, {"event": "done", "root": "r"}):
            worker.says.put_nowait(event)
            assert await heard(lines) == event
        assert await heard(lines) == {"event": "ended"}
    assert [json.loads(line) for line in worker.given[1:]] == [
        {"do": "rate", "bps": 1000},
        {"do": "rate", "bps": None},
    ]


async def test_a_partner_that_takes_nothing_holds_no_worker(
    south: Site, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service, "STALLED_S", 0.05)
    shown = await from_south(south, ticket())
    async with opened(south, shown.ref.locator) as lines:
        worker = await begun(south, host, lines, job(shown).line())
        for number in range(40):
            worker.says.put_nowait({"event": "progress", "done": number})
        await worker.ended.wait()


class Waiting:
    """Lines of a partner that says nothing, and hears all."""

    async def send(self, line: bytes) -> None:
        del line

    async def receive(self) -> bytes | None:
        await asyncio.Event().wait()


async def test_a_partner_that_is_revoked_meanwhile_runs_no_worker(south: Site, host: ScriptedHost):
    """The link ends what holds a conversation; the worker is gone when that has ended."""
    shown = await from_south(south, ticket())
    opening = codec.encoded(talk.Opening(ticket=shown.ref.locator, way=Way.WRITE)).encode()
    partner = await south.link.partner(NORTH)
    talking = asyncio.create_task(south.workers.converse(partner, opening, Waiting()))
    while not host.all:  # noqa: ASYNC110
        await asyncio.sleep(0)
    talking.cancel()
    await asyncio.wait({talking})
    assert (talking.cancelled(), host.all[0].ended.is_set(), south.workers.count) == (True, True, 0)
