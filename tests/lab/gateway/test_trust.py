"""Whom and what a real gateway's process trusts, also after it was killed and started anew."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gateway.gateway_process import GatewayProcess
from tests.unit.gateway import rig
from tests.unit.gateway.rig import IMPORT, Site, job, place

from crossport import errors
from crossport.gateway.identity import Kept
from crossport.model.artifact import DiskRef, Way

OLDER = {"epoch": 1, "nonce": "older"}
REPLAYED = {"epoch": 2, "run": "run-2"}
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"epoch": 2, "expires": 1.0}, "transfer.ticket.expired"),
    ({"epoch": 2, "way": Way.READ}, "transfer.ticket.way"),
    ({"epoch": 2, "byte_budget": 1}, "transfer.ticket.budget"),
    ({"epoch": 2, "tenant": "other"}, "transfer.ticket.elsewhere"),
    ({"epoch": 2, "at": place(IMPORT, cloud="beta")}, "transfer.ticket.elsewhere"),
    ({"epoch": 2, "hello": job(run="run-9").hello}, "transfer.ticket.foreign"),
    (REPLAYED, "transfer.ticket.replayed"),
    (OLDER, "transfer.ticket.old"),
)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    one = await rig.opened(tmp_path)
    yield one
    await one.close()


@pytest.fixture
def processes() -> Generator[list[GatewayProcess]]:
    """What is put in here is ended with the test."""
    held: list[GatewayProcess] = []
    yield held
    for one in held:
        one.kill()


async def outcome(site: Site, target: Path, **changes: Any) -> str:
    """Return what a worker at the gateway says first to a ticket: an event, or the code of an error."""
    ref = DiskRef(kind="file", locator=str(target), size=4096)
    sound: dict[str, Any] = {"way": Way.WRITE, "at": place(IMPORT), "ref": ref}
    wanted = job(**(sound | changes))
    async with asyncio.timeout(60), site.hub.started("receive", ref, place(IMPORT)) as worker:
        # The job of a receiver that listens, with a peer that never comes.
        await worker.give(
            wanted.line()
            .replace(b'"port": 1', b'"port": 0')
            .replace(b"the peer's certificate", worker.certificate.replace("\n", "\\n").encode())
        )
        try:
            await worker.event("listening")
        except errors.Error as error:
            return error.code
        return "listening"


async def test_each_ticket_that_is_not_good_is_refused_by_name_before_and_after_a_kill(
    site: Site, tmp_path: Path, processes: list[GatewayProcess]
) -> None:
    one = await GatewayProcess.joined(site, tmp_path / "machine", IMPORT)
    processes.append(one)
    (target := tmp_path / "target").write_bytes(bytes(4096))
    assert await outcome(site, target, epoch=2) == "listening"
    assert [await outcome(site, target, **changes) for changes, _ in REFUSED] == [code for _, code in REFUSED]

    processes.append(await one.again(site))
    for changes, code in ((OLDER, "transfer.ticket.old"), (REPLAYED, "transfer.ticket.replayed")):
        assert await outcome(site, target, **changes) == code
    assert await outcome(site, target, epoch=2) == "listening"
    assert not any(target.read_bytes())


async def test_another_site_at_the_address_of_its_own_is_not_obeyed(
    site: Site, tmp_path: Path, processes: list[GatewayProcess]
) -> None:
    (tmp_path / "other").mkdir()
    other = await rig.opened(tmp_path / "other", name="north")
    (home := tmp_path / "machine").mkdir(mode=0o700)
    kept: Kept = await site.joined(await site.enrolled(), home)
    kept.reached({"node": (f"unix:{tmp_path / 'other' / 'node.gate'}",)})
    processes.append(one := GatewayProcess.started(home, kept.membership().gateway))
    await one.until_it_says("gateway.site.untrusted")
    assert other.hub.desks == {}
    kept.reached({"node": (f"unix:{site.directory / 'node.gate'}",)})
    processes.append(await one.again(site))
    await other.close()
