"""Journals of the nodes themselves end with their runs, also at a node that was dead at that moment."""

from pathlib import Path

import pytest

from crossport.gateway.keeping import Keeping
from crossport.gateway.own_host import OwnHost
from crossport.model.artifact import DiskRef, Place
from crossport.testing.document import MemoryDocuments
from crossport.testing.sealer import MemorySealer
from crossport.transfer.confined import LocalHost
from crossport.transfer.journals import shelf

HERE = Place(cloud="alpha", subnet="", address="127.0.0.1")


class Nodes:
    """Nodes of one site, each with a directory of its own; asked for again, one was started anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.documents = MemoryDocuments()

    def node(self, name: str) -> OwnHost:
        keeping, claims = Keeping(lambda: self.documents), MemorySealer("here")
        return OwnHost(LocalHost(self.directory / name), keeping, name, claims)

    def kept(self, name: str) -> set[str]:
        return {path.name for path in (self.directory / name).glob("*")}

    async def copied(self, name: str, run: str) -> None:
        (disk := self.directory / "disk").write_bytes(bytes(4096))
        ref = DiskRef(kind="file", locator=str(disk), size=4096)
        async with self.node(name).started("receive", ref, HERE, (run, "disk-0")):
            pass


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


async def test_a_run_is_forgotten_at_once_by_the_node_that_ends_it(nodes: Nodes):
    await nodes.copied("first", "run-1")
    await nodes.node("first").forget("run-1")
    assert nodes.kept("first") == set()
    assert await nodes.documents.list("gateway-journal", object) == ()


async def test_a_node_that_was_dead_when_another_ended_the_run_forgets_it_when_it_begins(nodes: Nodes):
    for run in ("run-1", "run-2"):
        await nodes.copied("first", run)
    await nodes.node("second").forget("run-1")
    assert nodes.kept("first") == {shelf("run-1"), shelf("run-2")}
    await nodes.node("first").tidy()
    assert nodes.kept("first") == {shelf("run-2")}
    assert len(await nodes.documents.list("gateway-journal", object)) == 1


async def test_what_no_run_knows_goes_when_a_node_begins(nodes: Nodes):
    await nodes.copied("first", "run-1")
    (nodes.directory / "first" / shelf("of another life")).mkdir()
    await nodes.node("first").tidy()
    assert nodes.kept("first") == {shelf("run-1")}


async def test_what_two_had_a_journal_of_is_read_back_whole_whoever_is_left(nodes: Nodes):
    keeping, named = Keeping(lambda: nodes.documents), ("run-1", "disk-0")
    for way in ("receive", "digest"):
        assert await keeping.journal("first", way, named) == named
    assert await keeping.journal("second", "digest", named) is None
    assert await keeping.journal("first", "digest", named) == named
    assert await keeping.journal("second", "receive", named) == named
    for name in ("first", "second"):
        assert await keeping.journal(name, "digest", named) is None
        assert await keeping.journal(name, "digest", ("run-2", "disk-0")) == ("run-2", "disk-0")
        await keeping.forget("run-2")
        await keeping.forgot(name, "run-2")
    await keeping.left("second")
    assert await keeping.journal("first", "digest", named) is None
    await keeping.forget("run-1")
    await keeping.forgot("first", "run-1")
    assert await nodes.documents.list("gateway-journal", object) == ()
