"""The identity of a site with several nodes: one authority, sealed in the database that they share."""

import asyncio
import os
from pathlib import Path
from time import monotonic, time
from typing import TypeVar

import pytest

from crossport import errors
from crossport.app.master_key import KEY_FILE, MasterSource
from crossport.app.shared_identity import AUTHORITY_FILE, share_identity
from crossport.identity import MasterKeys, SiteIdentity
from crossport.spi.document import Document
from crossport.testing.document import MemoryDocuments

T = TypeVar("T")


class RealClock:
    def monotonic(self) -> float:
        return monotonic()

    def wall(self) -> float:
        return time()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing waits here, not even {seconds} s")


CLOCK = RealClock()


class EmptyAtFirst(MemoryDocuments):
    """A database that two nodes ask at the same moment: both see it empty before either writes."""

    def __init__(self) -> None:
        super().__init__()
        self._both = asyncio.Barrier(2)
        self._asked = 0

    async def fetch(self, kind: str, key: str, type_: type[T]) -> Document[T]:
        self._asked += 1
        if self._asked > 2:
            return await super().fetch(kind, key, type_)
        try:
            return await super().fetch(kind, key, type_)
        finally:
            await self._both.wait()


@pytest.fixture
def database() -> MemoryDocuments:
    """What all nodes share."""
    return MemoryDocuments()


@pytest.fixture
def place(tmp_path: Path, database: MemoryDocuments) -> "Place":
    return Place(tmp_path, database)


class Place:
    """Where nodes start."""

    source = MasterSource()

    def __init__(self, root: Path, database: MemoryDocuments) -> None:
        self.root = root
        self.database = database

    async def node(self, name: str, *, key_of: Path | None = None) -> Path:
        """Start a node; it gets a copy of another one's master key, as an operator would bring it."""
        directory = self.root / name / "identity"
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        if key_of is not None:
            key = directory / KEY_FILE
            key.touch(mode=0o600)
            key.write_bytes((key_of / KEY_FILE).read_bytes())
        await share_identity(directory, "north", self.database, CLOCK, self.source)
        return directory


async def test_a_node_with_the_master_key_has_the_site_s_authority(place: Place):
    first = await place.node("first")
    second = await place.node("second", key_of=first)
    one, other = (SiteIdentity.open(each, "north", clock=CLOCK) for each in (first, second))
    assert one.authority_pem == other.authority_pem
    assert (second / AUTHORITY_FILE).stat().st_mode & 0o777 == 0o600


async def test_a_node_starts_again_with_the_same_identity(place: Place):
    first = await place.node("first")
    before = (first / AUTHORITY_FILE).read_bytes()
    await place.node("first")
    assert (first / AUTHORITY_FILE).read_bytes() == before


async def test_nothing_in_the_database_opens_without_the_key(place: Place, database: MemoryDocuments):
    await place.node("first")
    assert "PRIVATE" not in repr(vars(database))


async def test_a_node_without_the_master_key_is_told_where_to_put_it(place: Place):
    await place.node("first")
    with pytest.raises(errors.Refused) as refusal:
        await place.node("second")
    assert (refusal.value.code, refusal.value.field) == ("identity.key.missing", "database_url")
    assert str(place.root / "second/identity" / KEY_FILE) in refusal.value.remedy
    assert not (place.root / "second/identity" / KEY_FILE).exists()


async def test_a_node_with_another_master_key_is_told_so(place: Place):
    await place.node("first")
    stranger = place.root / "stranger"
    SiteIdentity.open(stranger, "north", clock=CLOCK)
    MasterKeys.open(stranger / KEY_FILE, entropy=os.urandom)
    with pytest.raises(errors.Refused, match=r"another master key"):
        await place.node("second", key_of=stranger)


async def test_a_node_with_another_authority_keeps_it_and_is_told_so(place: Place):
    first = await place.node("first")
    own = place.root / "second/identity"
    SiteIdentity.open(own, "north", clock=CLOCK)
    before = (own / AUTHORITY_FILE).read_bytes()
    with pytest.raises(errors.Conflict) as refusal:
        await place.node("second", key_of=first)
    assert refusal.value.code == "identity.authority.other"
    assert (own / AUTHORITY_FILE).read_bytes() == before


async def test_of_two_nodes_that_start_at_once_one_makes_the_authority_and_the_other_takes_it(tmp_path: Path):
    key = tmp_path / "key"
    MasterKeys.open(key / KEY_FILE, entropy=os.urandom)
    place = Place(tmp_path, EmptyAtFirst())
    one, other = await asyncio.gather(*(place.node(name, key_of=key) for name in ("one", "other")))
    assert (one / AUTHORITY_FILE).read_bytes() == (other / AUTHORITY_FILE).read_bytes()
    await place.node("one")


async def test_the_slower_of_two_new_nodes_without_a_key_keeps_nothing_and_asks_for_the_other_s(
    tmp_path: Path,
):
    place = Place(tmp_path, EmptyAtFirst())
    ends = await asyncio.gather(*(place.node(name) for name in ("one", "other")), return_exceptions=True)
    (first,) = [end for end in ends if isinstance(end, Path)]
    (refusal,) = [end for end in ends if isinstance(end, errors.Refused)]
    assert (refusal.code, "no master key" in refusal.text) == ("identity.key.missing", True)
    slower = tmp_path / ("other" if first.parent.name == "one" else "one") / "identity"
    assert not [path for path in slower.iterdir() if path.name != ".lock"]
    await place.node(slower.parent.name, key_of=first)
    assert (slower / AUTHORITY_FILE).read_bytes() == (first / AUTHORITY_FILE).read_bytes()


async def test_nodes_that_are_handed_the_key_need_no_copy_of_a_file(place: Place):
    place.source = MasterSource(handed=(bytes(32),))
    first, second = await place.node("first"), await place.node("second")
    assert (first / AUTHORITY_FILE).read_bytes() == (second / AUTHORITY_FILE).read_bytes()
    assert not any((node / KEY_FILE).exists() for node in (first, second))
    place.source = MasterSource(handed=(bytes(31) + b"1",))
    with pytest.raises(errors.Refused, match=r"another master key"):
        await place.node("third")
