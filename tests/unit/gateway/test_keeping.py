"""Journals at gateways end with their runs, also where the gateway is away, or the site dies meanwhile."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.gateway import rig
from tests.unit.gateway.rig import EXPORT, IMPORT, RunningGateway, Site, Workers, place
from tests.unit.gateway.test_control import REF, cut

from crossport.engine.database import Database
from crossport.engine.documents import Documents
from crossport.gateway import agent, hub
from crossport.gateway.keeping import Keeping, Unwanted
from crossport.model.record import record
from crossport.testing.document import MemoryDocuments
from crossport.testing.postgresql import running_postgresql
from crossport.transfer.journals import shelf


@record()
class Entry:
    """What the ledger holds."""

    run: str
    gateway: str
    forget: bool
    reads: bool


async def copied(site: Site, run: str) -> None:
    async with asyncio.timeout(30), site.hub.started("receive", REF, place(IMPORT), (run, "disk-0")):
        pass


def kept_at(gateway: RunningGateway) -> set[str]:
    directory = gateway.kept.directory / "journals"
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def entries(documents: MemoryDocuments) -> set[str]:
    return {one.value.run for one in await documents.list("gateway-journal", Entry)}


async def until_entries(documents: MemoryDocuments, runs: set[str]) -> None:
    async with asyncio.timeout(30):
        while await entries(documents) != runs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_gateway_that_is_there_forgets_at_once_and_the_ledger_too(site: Site):
    one = await site.gateway(IMPORT, Workers().start)
    for run in ("run-1", "run-2"):
        await copied(site, run)
    await site.hub.forget("run-1")
    await until(lambda: kept_at(one) == {shelf("run-2")})
    await until_entries(site.documents, {"run-2"})


async def test_a_gateway_that_was_away_is_told_when_it_comes_back(site: Site):
    one = await site.gateway(IMPORT, Workers().start)
    for run in ("run-1", "run-2"):
        await copied(site, run)
    await one.stop()
    await site.until_connected(one.id, connected=False)
    await site.hub.forget("run-1")
    assert await entries(site.documents) == {"run-1", "run-2"}
    again = site.run(one.kept, Workers().start)
    await until(lambda: kept_at(again) == {shelf("run-2")})
    await until_entries(site.documents, {"run-2"})


async def test_a_site_that_died_after_it_wrote_that_down_tells_it_as_another_process(
    site: Site, tmp_path: Path
):
    one = await site.gateway(IMPORT, Workers().start)
    await copied(site, "run-1")
    await site.hub.office.keeping.forget("run-1")
    await site.held.aclose()
    assert kept_at(one) == {shelf("run-1")}
    again = await rig.opened(tmp_path, documents=site.documents)
    await until(lambda: kept_at(one) == set())
    await until_entries(site.documents, set())
    await again.close()


async def test_a_run_that_another_node_ended_is_told_by_whoever_is_connected(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "PING_S", 0.05)
    one = await site.gateway(IMPORT, Workers().start)
    await copied(site, "run-1")
    await Keeping(lambda: site.documents).forget("run-1")
    await until(lambda: kept_at(one) == set())


async def test_what_no_run_of_the_site_knows_is_pruned_and_nothing_else(site: Site):
    one = await site.gateway(IMPORT, Workers().start)
    await copied(site, "run-1")
    stray = one.kept.directory / "journals" / shelf("of another life")
    stray.mkdir()
    (stray / "journal").write_bytes(b"old")
    (other := one.kept.directory / "journals" / "notes").mkdir()
    await cut(site, one.id)
    await until(lambda: not stray.exists())
    assert kept_at(one) == {shelf("run-1"), other.name}


async def test_of_many_shelves_all_are_pruned_in_time(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(agent, "SHELVES_MAX", 2)
    one = await site.gateway(IMPORT, Workers().start)
    for number in range(5):
        (one.kept.directory / "journals" / shelf(f"{number}")).mkdir(parents=True)
    for left in (3, 1, 0):
        await cut(site, one.id)
        await until(lambda left=left: len(kept_at(one)) == left)


async def test_a_run_that_began_anew_keeps_its_journal_though_it_was_to_be_forgotten():
    keeping = Keeping(lambda: documents)
    documents = MemoryDocuments()
    await keeping.keeps("gw-1", "run-1")
    await keeping.forget("run-1")
    assert (await keeping.unwanted("gw-1")).runs == ("run-1",)
    await keeping.keeps("gw-1", "run-1")
    await keeping.forgot("gw-1", "run-1")
    assert await keeping.unwanted("gw-1", [shelf("run-1")]) == Unwanted()
    assert await entries(documents) == {"run-1"}


async def test_a_gateway_is_told_of_its_own_journals_only_and_a_removed_one_leaves_none(site: Site):
    one = await site.gateway(IMPORT, Workers().start)
    keeping = site.hub.office.keeping
    for gateway in (one.id, "gw-other"):
        await keeping.keeps(gateway, "run-1")
    await keeping.forget("run-1")
    assert (await keeping.unwanted("gw-third", [])) == Unwanted()
    await site.hub.remove("acme", one.id)
    assert (await keeping.unwanted(one.id)) == Unwanted()
    assert (await keeping.unwanted("gw-other")).runs == ("run-1",)


@pytest.mark.parametrize("said", [{"shelves": "all"}, {"shelves": [1]}, {"run": 1}])
async def test_a_site_that_says_nonsense_ends_the_line_and_removes_nothing(site: Site, said: dict[str, Any]):
    one = await site.gateway(IMPORT, Workers().start)
    await copied(site, "run-1")
    with capture_logs() as told:
        await site.hub.desks[one.id].send({"do": "forget", **said})
        await until(lambda: any(line.get("code") == "gateway.message.malformed" for line in told))
    assert kept_at(one) == {shelf("run-1")}


@pytest.mark.parametrize("name", ["..", "/", ".", "", "0" * 31, "../" + "0" * 32])
async def test_only_shelves_are_cleared(site: Site, name: str):
    one = await site.gateway(IMPORT, Workers().start)
    await copied(site, "run-1")
    await site.hub.desks[one.id].send({"do": "forget", "shelves": [name]})
    await site.hub.desks[one.id].send({"do": "forget", "run": "unknown"})
    await copied(site, "run-2")
    assert kept_at(one) == {shelf("run-1"), shelf("run-2")}


async def test_what_was_read_is_kept_for_the_run_too_and_leaves_the_journal_of_the_target_as_it_is(
    site: Site,
):
    source, target = [await site.gateway(each, Workers().start) for each in (EXPORT, IMPORT)]
    keeping, journal = site.hub.office.keeping, ("run-1", "disk-0")
    async with asyncio.timeout(30):
        for _ in range(2):
            async with site.hub.started("send", REF, place(EXPORT), ("run-1", "disk-0 read")):
                pass
            async with site.hub.started("receive", REF, place(IMPORT), journal):
                pass
    assert kept_at(source) == kept_at(target) == {shelf("run-1")}
    assert await keeping.journal(target.id, "digest", journal) == journal
    assert await keeping.journal(source.id, "digest", journal) is None

    await site.hub.forget("run-1")
    await until(lambda: not kept_at(source) and not kept_at(target))
    await until_entries(site.documents, set())


async def test_a_gateway_that_wrote_once_has_a_journal_of_the_target_though_it_reads_later():
    keeping = Keeping(lambda: documents)
    documents = MemoryDocuments()
    for way in ("send", "receive", "send"):
        await keeping.journal("gw-1", way, ("run-1", "disk-0"))
    assert await keeping.journal("gw-2", "digest", ("run-1", "disk-0")) is None


@pytest.mark.postgresql
async def test_both_ends_of_a_copy_at_one_gateway_are_noted_at_one_moment(tmp_path: Path):
    """On a database that lets both write at once; each began an entry that the other had made meanwhile."""
    with running_postgresql() as server:
        await note_at_one_moment(await Database.open(tmp_path, server.database(), 30.0))


async def note_at_one_moment(database: Database) -> None:
    documents = Documents(database)
    keepings = Keeping(lambda: documents), Keeping(lambda: documents)
    for number in range(10):
        run = f"run-{number}"
        asked = [
            keeping.journal("gw-1", way, (run, f"disk-{disk}"))
            for keeping, disk in itertools.product(keepings, range(2))
            for way in ("send", "receive")
        ]
        assert None not in await asyncio.gather(*asked)
        assert not (await documents.fetch("gateway-journal", f"{run}/gw-1", Entry)).value.reads
    await database.close()
