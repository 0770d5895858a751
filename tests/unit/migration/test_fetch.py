"""Fetched images: what arrived is kept for whoever goes on, not for ever; one fetch of a thing at a time."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.unit.migration.image_store import Store
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.migration.fetch import KEEP_S, KEEP_SIZE, FetchMeans, Wanted, WebImages
from crossport.model.artifact import Copied, Counters, Digest, DiskRef, Moved, Place, Progress, Ticket
from crossport.model.construct import Image
from crossport.spi.making import image_exists

CONTENT = b"an image" * 1024


class Web:
    """A web server whose object is copied at once, unless it is ``away`` after half of it, or ``gone``."""

    def __init__(self) -> None:
        self.away = self.gone = False
        self.copies = self.running = self.most_running = 0
        self.forgotten: list[str] = []

    async def look(self, url: str, place: Place) -> DiskRef:
        del place
        if self.gone:
            raise errors.Unavailable("transfer.http.away", "It is away.")
        return DiskRef(kind="http", locator=url, size=len(CONTENT), identity="v1")

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        self.copies += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        path = Path(write.ref.locator)
        path.write_bytes(CONTENT[: len(CONTENT) // 2])
        if self.away:
            raise errors.Unavailable("transfer.http.away", "It is away.")
        path.write_bytes(CONTENT)
        report(Progress(artifact=read.artifact, size=len(CONTENT), done=len(CONTENT)))
        return Moved(
            artifact="image", size=len(CONTENT), chunk_size=1, root="", counters=Counters(), seconds=1
        )

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None
    ) -> Digest:
        raise AssertionError(f"{ref} at {place} is read by {chunk_size}: {copied}")

    async def forget(self, run: str) -> None:
        self.forgotten.append(run)


class Site:
    def __init__(self, folder: Path, keep: int = KEEP_SIZE, most: int = 1 << 40) -> None:
        self.web, self.clock, self.store, numbers = Web(), TestClock(), Store(), count()
        self.folder = folder
        self.means = FetchMeans(
            folder=folder, look=self.web, mover=self.web, clock=self.clock, token=lambda: f"{next(numbers)}"
        )
        self.images = WebImages(self.means, most, keep)

    async def take(self, name: str) -> Image:
        return await self.images.take(wanted(name), self.store, list[Progress]().append)

    def age(self, path: Path, seconds: float) -> None:
        then = self.clock.wall() - seconds
        os.utime(path, (then, then))

    def parts(self) -> list[Path]:
        return sorted(self.folder.iterdir())


def wanted(name: str) -> Wanted:
    return Wanted(tenant="acme", cloud="lab", name=name, image_format="raw", url="https://images.test/disk")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "fetched")


async def test_what_nobody_goes_on_with_is_removed_after_days(site: Site):
    site.web.away = True
    for name in ("old", "new"):
        with pytest.raises(errors.Unavailable):
            await site.take(name)
    [old] = site.folder.glob(f"{wanted('old').run}-*")
    [new] = site.folder.glob(f"{wanted('new').run}-*")
    site.age(old, KEEP_S + 60)
    site.age(new, KEEP_S - 60)
    await site.images.prune()
    assert site.parts() == [new]
    assert site.web.forgotten == [wanted("old").run]


async def three_cut_off(folder: Path, keep: int, most: int) -> Site:
    """Return a site that has 4 KiB each of three images, the first the oldest."""
    site = Site(folder, keep, most)
    site.web.away = True
    for number, name in enumerate(("first", "second", "third")):
        with pytest.raises(errors.Unavailable):
            await site.take(name)
        for path in site.folder.glob(f"{wanted(name).run}-*"):
            site.age(path, 1000 - number)
    return site


def kept(site: Site) -> set[str]:
    return {path.name.rsplit("-", 2)[0] for path in site.parts()}


async def test_no_more_than_so_much_is_kept_and_the_oldest_goes_first(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=10_000, most=10_000)
    await site.images.prune()
    assert kept(site) == {wanted("second").run, wanted("third").run}


async def test_one_image_as_large_as_may_be_fetched_is_always_kept(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=0, most=9_000)
    await site.images.prune()
    assert kept(site) == {wanted("second").run, wanted("third").run}


async def test_what_arrived_for_a_run_that_waits_to_try_again_is_kept_however_old_and_large(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=0, most=9_000)
    for path in site.parts():
        site.age(path, 2 * KEEP_S)
    await site.images.prune({wanted("first").run})
    assert kept(site) == {wanted("first").run}
    assert wanted("first").run not in site.web.forgotten


async def test_a_fetch_goes_on_with_what_it_had_however_much_others_left(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=0, most=9_000)
    [before] = site.folder.glob(f"{wanted('first').run}-*")
    with pytest.raises(errors.Unavailable):
        await site.take("first")
    assert before in site.parts()


async def test_a_file_that_another_fetch_removes_meanwhile_is_no_mistake(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=10_000, most=10_000)
    (site.folder / "fetch-none-0-0").symlink_to("gone")  # listed, and not there when it is looked at
    await site.images.prune()
    assert kept(site) == {wanted("second").run, wanted("third").run, "fetch-none"}


async def test_what_grew_after_it_was_looked_at_is_kept(tmp_path: Path):
    site = await three_cut_off(tmp_path / "fetched", keep=0, most=9_000)
    seen = list[str]()
    [third] = site.folder.glob(f"{wanted('third').run}-*")

    class Forgetting(Web):
        async def forget(self, run: str) -> None:
            seen.append(run)
            third.write_bytes(CONTENT)  # a fetch that began and broke off while the first was removed

    site.images = WebImages(replace(site.means, mover=Forgetting()), 1, 0)
    await site.images.prune()
    assert kept(site) == {wanted("third").run}
    assert wanted("third").run not in seen


async def test_nothing_is_remembered_of_fetches_that_ended(site: Site):
    for name in ("one", "two"):
        await site.take(name)
    assert site.images.at_work == ()


async def test_two_who_fetch_the_same_do_it_one_after_the_other_and_once(site: Site):
    first, second = await asyncio.gather(site.take("debian"), site.take("debian"))
    assert first == second
    assert (site.web.copies, site.web.most_running) == (1, 1)
    await site.images.forget(wanted("debian").run)
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await site.take("debian")


async def test_two_who_fetch_the_same_url_as_two_images_share_no_file(site: Site):
    await asyncio.gather(site.take("one"), site.take("two"))
    assert site.store.held == {"one": CONTENT, "two": CONTENT}
    assert len([path for path in site.parts() if "given" not in path.name]) == 2


async def test_what_is_being_fetched_is_not_taken_for_abandoned(site: Site):
    class Slow(Store):
        async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
            [path] = [part for part in site.parts() if "given" not in part.name]
            site.age(path, 2 * KEEP_S)
            await site.images.prune()
            return await super().add_image(name, image_format, content)

    site.store = Slow()
    await site.take("debian")
    assert site.store.held == {"debian": CONTENT}


async def test_an_image_of_somebody_else_is_not_taken_for_the_one_that_was_on_its_way(site: Site):
    site.web.away = True
    with pytest.raises(errors.Unavailable):
        await site.take("debian")
    site.store.held["debian"], site.web.away = b"another", False
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await site.take("debian")
    assert site.store.held == {"debian": b"another"}


async def test_whoever_lost_the_name_on_the_way_does_not_take_the_winner_for_its_own(site: Site):
    class Raced(Store):
        async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
            self.held[name] = b"another"
            raise image_exists(name)

    site.store = Raced()
    for _ in range(2):
        with pytest.raises(errors.Conflict, match=r"image\.exists"):
            await site.take("debian")


async def test_an_image_that_arrived_though_the_cloud_did_not_say_so_is_found(site: Site):
    class Silent(Store):
        async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
            await super().add_image(name, image_format, content)
            raise errors.Unavailable("cloud.away", "It is away.")

    site.store = Silent()
    with pytest.raises(errors.Unavailable, match=r"cloud\.away"):
        await site.take("debian")
    assert (await site.take("debian")).size == len(CONTENT)
    assert site.web.copies == 1


class Deaf(Store):
    """A cloud that did not even take the image in before it went away."""

    async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
        raise errors.Unavailable("cloud.away", "It is away.")


async def test_an_image_of_another_size_is_not_the_one_of_which_the_cloud_said_nothing(site: Site):
    site.store = Deaf()
    with pytest.raises(errors.Unavailable, match=r"cloud\.away"):
        await site.take("debian")
    site.store.held["debian"] = b"another"
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await site.take("debian")


async def test_what_comes_after_the_cloud_was_seen_without_it_is_not_ours(site: Site):
    site.store = Deaf()
    with pytest.raises(errors.Unavailable, match=r"cloud\.away"):
        await site.take("debian")
    site.web.gone = True
    with pytest.raises(errors.Unavailable, match=r"transfer\.http\.away"):
        await site.take("debian")
    site.store.held["debian"] = CONTENT
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await site.take("debian")
