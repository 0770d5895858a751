"""What a partner's worker can do to the site that has the mover: what a worker does, and not more often.

South answers as the test says; north asks it for a worker, or copies with real workers.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.test_movers import MachineClock
from tests.unit.transfer.two_sites import (
    DISK,
    NORTH,
    SOUTH,
    ScriptedHost,
    from_south,
    gone,
    heard,
    job,
    local,
    opened,
    ticket,
    two_sites,
)

from crossport import errors
from crossport.model.artifact import DiskRef, Ticket, Way
from crossport.model.partner import Partner
from crossport.spi.partner import Lines
from crossport.testing.partner import MemoryWorld
from crossport.transfer import credential
from crossport.transfer.pair import Settings, introduce
from crossport.transfer.partner import host as partner_host
from crossport.transfer.partner import talk
from crossport.transfer.partner.grant import Asked, taken
from crossport.transfer.partner.host import PartnerHost

KEY = "ab" * 32
STARTED: dict[str, Any] = {"event": "started", "certificate": "south's certificate", "names_key": KEY}
Says = Callable[[Lines], Awaitable[None]]


def asked(told: Ticket) -> Asked:
    return Asked(told.tenant, told.run, told.epoch, told.artifact, told.way, told.ref)


def north(says: Says) -> PartnerHost:
    """Return north's host of workers at south, where ``says`` speaks for each of them."""
    world = MemoryWorld(MachineClock())
    world.accept(NORTH, SOUTH)

    async def converse(partner: Partner, opening: bytes, lines: Lines) -> None:
        await says(lines)

    world.site(SOUTH).converse(talk.OPERATION, converse)
    return PartnerHost(world.site(NORTH), world.clock)


def shown(way: Way = Way.WRITE, **changes: Any) -> Ticket:
    """Return a ticket as north has it."""
    own = ticket(way, ref=DiskRef(kind="partner", locator="word", size=DISK.size), published=(), **changes)
    return taken(SOUTH, own, asked(own))


async def told(lines: Lines, *events: Any) -> None:
    for event in events:
        await lines.send(event if isinstance(event, bytes) else json.dumps(event).encode())


async def failure(says: Says) -> str:
    """Return the code with which north gives a worker up that is to do its job."""
    own = shown()
    with pytest.raises(errors.Error) as caught:
        async with asyncio.timeout(30), north(says).started("receive", own.ref, own.place) as worker:
            await worker.event("done")
    return caught.value.code


async def test_a_worker_at_a_partner_is_told_its_job_and_tells_how_it_goes():
    given = list[dict[str, Any]]()

    async def says(lines: Lines) -> None:
        await told(lines, STARTED)
        while line := await lines.receive():
            given.append(json.loads(line))
            if "do" not in given[-1]:
                await told(lines, {"event": "progress", "done": 1}, {"event": "done", "root": "r"})
            elif given[-1]["do"] == "end":
                await told(lines, {"event": "progress"}, {"event": "ended"})
                return

    own, heard = shown(), list[dict[str, Any]]()
    async with asyncio.timeout(30), north(says).started("receive", own.ref, own.place) as worker:
        assert (worker.certificate, worker.names_key) == ("south's certificate", bytes.fromhex(KEY))
        await worker.give(b'{"ticket": "as it is"}\n')
        assert (await worker.event("done", heard.append))["root"] == "r"
    assert given == [{"ticket": "as it is"}, {"do": "end"}]
    assert heard == [{"event": "progress", "done": 1}]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (
            {"event": "failed", "kind": "Refused", "code": "transfer.ticket.expired"},
            "transfer.ticket.expired",
        ),
        ({"event": "started"}, "partner.worker.malformed"),
        ({"event": "started", "certificate": "c", "names_key": "zz"}, "partner.worker.malformed"),
        ({"event": "started", "certificate": "c", "names_key": "ab"}, "partner.worker.malformed"),
        ({"event": "started", "certificate": 1}, "partner.worker.malformed"),
        (b"[]", "partner.worker.malformed"),
        (b"\xff" * 100, "partner.worker.malformed"),
        (b"[" * 30_000, "partner.worker.malformed"),
        (b'"' + b"x" * 40_000 + b'"', "partner.worker.malformed"),
        (None, "transfer.worker.died"),
    ],
    ids=["failed", "bare", "no hex", "short key", "number", "list", "no text", "deep", "long", "silent end"],
)
async def test_a_beginning_that_is_none_begins_nothing(first: Any, code: str):
    async def says(lines: Lines) -> None:
        if first is not None:
            await told(lines, first)

    assert await failure(says) == code


@pytest.mark.parametrize(
    ("event", "code"),
    [
        # It may not have this site look anything up, or begin twice.
        ({"event": "reach", "url": "http://internal/"}, "partner.worker.malformed"),
        (STARTED, "partner.worker.malformed"),
        ({"event": 7}, "partner.worker.malformed"),
        ({"event": "progress", "pad": "x" * 40_000}, "partner.worker.malformed"),
    ],
    ids=["reach", "started", "number", "large"],
)
async def test_a_worker_that_says_what_none_says_is_given_up(event: dict[str, Any], code: str):
    async def says(lines: Lines) -> None:
        await told(lines, STARTED, event)

    assert await failure(says) == code


async def test_a_flood_of_progress_is_given_up():
    async def says(lines: Lines) -> None:
        await told(lines, STARTED, *({"event": "progress", "done": number} for number in range(5000)))

    assert await failure(says) == "partner.worker.flood"


async def test_a_partner_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partner_host, "SILENT_S", 0.05)
    monkeypatch.setattr(partner_host, "END_S", 0.05)

    async def says(lines: Lines) -> None:
        await told(lines, STARTED)
        await asyncio.Event().wait()

    assert await failure(says) == "transfer.worker.silent"


async def test_a_stream_that_breaks_is_tried_again():
    async def says(lines: Lines) -> None:
        await told(lines, STARTED)
        raise errors.Unavailable("partner.away", "It was cut.")

    assert await failure(says) == "partner.away"


@pytest.mark.parametrize("way", ["digest", "look"])
async def test_a_partner_reads_at_rest_itself(way: Any):
    async def says(lines: Lines) -> None:
        raise AssertionError("nobody is asked")

    with pytest.raises(errors.Refused):
        async with north(says).started(way, shown().ref, shown().place):
            pass
    with pytest.raises(errors.Refused):
        async with north(says).started("receive", DISK, shown().place):
            pass


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": DiskRef(kind="file", locator="/etc/shadow", size=DISK.size)},
        {"ref": DiskRef(kind="partner", locator="word", size=DISK.size + 1)},
        {"run": "run-2"},
        {"tenant": "other"},
        {"epoch": 9},
        {"artifact": "disk-1"},
        {"way": Way.READ},
    ],
    ids=str,
)
def test_a_ticket_that_was_not_asked_for_is_refused(changes: dict[str, Any]):
    own = shown()
    with pytest.raises(errors.Refused) as caught:
        taken(SOUTH, replace(own, **changes), asked(own))
    assert caught.value.code == "transfer.ticket.foreign"


def test_a_partner_s_ticket_is_never_one_for_this_site():
    own = shown()
    lie = replace(
        own,
        place=replace(own.place, site="", namespace="host", tenant="other"),
        published=(DiskRef(kind="file", locator="/etc/shadow", size=1),),
        unopened="\x1b[2J" + "x" * 1000,
    )
    got = taken(SOUTH, lie, asked(own))
    assert (got.place.site, got.place.namespace, got.place.tenant) == (SOUTH, "", own.tenant)
    assert got.published == ()
    assert len(got.unopened) <= 300
    assert got.unopened.isprintable()


@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 5000), ("100.96.0.9", 22), ("localhost", 5000)])
async def test_a_partner_does_not_have_this_site_s_worker_knock_where_it_likes(address: str, port: int):
    async def says(lines: Lines) -> None:
        await told(lines, STARTED)
        await lines.receive()
        await told(lines, {"event": "listening", "port": port})
        await lines.receive()

    there = shown()
    there = replace(there, place=replace(there.place, address=address))
    here, own = replace(there, way=Way.READ, place=ticket().place), ScriptedHost()
    with pytest.raises(errors.Refused) as caught:
        async with (
            own.started("send", DISK, here.place) as sender,
            north(says).started("receive", there.ref, there.place) as receiver,
        ):
            await introduce(Settings(), (here, there), (sender, receiver))
    assert caught.value.code == "transfer.peer.address"
    assert own.all[0].given == []


async def test_no_other_certificate_is_let_in_not_even_one_of_the_same_site(tmp_path: Path):
    """A worker at south accepts the one that it was told of: the other workers of that site are strangers."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    _, south = two_sites(local(tmp_path / "north"), local(tmp_path / "south"))
    ref = DiskRef(kind="file", locator=str(disk), size=1 << 20, identity="disk")
    own = ticket(ref=ref, published=(), place=replace(ticket().place, address="127.0.0.1", namespace=""))
    there = await from_south(south, own)
    async with opened(south, there.ref.locator) as lines:
        started = await heard(lines)
        await lines.send(job(there).line().rstrip())
        while (said := await heard(lines))["event"] != "listening":
            pass
        for stranger in (credential.made(), None):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=started["certificate"])
            if stranger is not None:
                pem = tmp_path / "stranger.pem"
                pem.write_text(stranger.certificate + stranger.key)
                context.load_cert_chain(pem)
            with pytest.raises(OSError):
                await _first_word("127.0.0.1", said["port"], context)
    await gone(south)
    assert disk.read_bytes() == bytes(1 << 20)


async def _first_word(address: str, port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname="")
    try:
        writer.write(b"\x01\0\0\0\0\0\0\0")
        await writer.drain()
        if not await reader.read(1):
            raise ConnectionResetError("it ended the connection")
    finally:
        writer.transport.abort()
