"""Which published images a copy may take from: few, closed again, and never a reason to fail."""

from collections.abc import AsyncIterator
from pathlib import Path

from structlog.testing import capture_logs
from tests.unit.migration.world import make_world, new_world

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.migration.published import KIND, PublishedImages, chosen
from crossport.model.artifact import Artifact, DiskRef, Role
from crossport.model.construct import Image
from crossport.model.run import Act, EventKind, LedgerState, RunState
from crossport.testing.run import DirectLedger
from crossport.testing.world import BETA

ACT = Act(run="run-1", step="copy", epoch=1)
SIZE = 1 << 20


async def content(size: int) -> AsyncIterator[bytes]:
    yield bytes(size - 1) + b"x"


def disk(size: int = SIZE, role: Role = Role.DISK) -> Artifact:
    return Artifact(role=role, name="disk-0", ref=DiskRef(kind="file", locator="/disk", size=size))


def test_images_of_the_very_size_come_first_then_the_newest_and_none_that_is_larger() -> None:
    sizes = {"newest": 3, "grown": 2, "same": 4, "large": 5, "empty": 0, "oldest": 1}
    images = [Image(id=name, name=name, format="raw", size=size) for name, size in sizes.items()]
    assert chosen(images, 4, 3) == ("same", "newest", "grown")
    assert chosen(images, 4, 0) == ()


async def opened(
    cloud: MemoryCloud, ledger: DirectLedger, artifact: Artifact, most: int = 4
) -> tuple[DiskRef, ...]:
    return (await PublishedImages(ledger, most).opened(ACT, "beta", cloud, artifact)).refs


async def test_only_disks_have_images_and_none_are_opened_where_none_are_to_be(tmp_path: Path) -> None:
    world, ledger = await new_world(tmp_path), DirectLedger()
    await world.beta.add_image("base", "raw", content(SIZE))
    assert await opened(world.beta, ledger, disk(role=Role.NVRAM)) == ()
    assert await opened(world.beta, ledger, disk(), most=0) == ()
    assert await opened(world.beta, ledger, disk(SIZE - 1)) == ()
    assert await ledger.entries("run-1") == ()
    assert len(await opened(world.beta, ledger, disk())) == 1
    assert [entry.kind for entry in await ledger.entries("run-1")] == [KIND]


class Broken(MemoryCloud):
    async def open_images(self, act: Act, ids: tuple[str, ...], project: str = "") -> tuple[DiskRef, ...]:
        raise errors.Unavailable("cloud.silent", "It does not answer.")


async def test_images_that_cannot_be_opened_are_told_and_no_reason_not_to_copy(tmp_path: Path) -> None:
    world, beta = await new_world(tmp_path), Broken("beta", tmp_path / "broken")
    beta.found(BETA)
    await beta.add_image("base", "raw", content(4096))
    world = make_world(world.alpha, beta)
    with capture_logs() as logged:
        report = await world.migrate()
    assert report.vm_id
    told = [event.text for event in world.context.events if event.kind is EventKind.LOG]
    reason = "published images of beta were not opened: It does not answer. [cloud.silent]"
    assert any(text.endswith(reason) for text in told)
    warned = [line for line in logged if line["event"] == "images not opened"]
    assert {(line["log_level"], line["cloud"], line["code"]) for line in warned} == {
        ("warning", "beta", "cloud.silent")
    }


class Stuck(MemoryCloud):
    """Its image service does not answer while the copy is made; ``closes`` counts how often it was asked."""

    closes = 0

    async def close_images(self, act: Act) -> None:
        self.closes += 1
        if act.step == "verify":
            raise errors.Unavailable("cloud.silent", "It does not answer.")
        await super().close_images(act)


async def test_images_that_cannot_be_closed_are_no_reason_to_bring_the_source_back(tmp_path: Path) -> None:
    world, beta = await new_world(tmp_path), Stuck("beta", tmp_path / "stuck")
    beta.found(BETA)
    await beta.add_image("base", "raw", content(4096))
    world = make_world(world.alpha, beta)
    with capture_logs() as logged:
        assert (await world.migrate()).outcome is RunState.DONE
    assert "images not closed" in [line["event"] for line in logged]
    entries = await world.context.ledger.entries("run-1", "beta")
    assert [one.state for one in entries if one.kind == KIND] == [LedgerState.REMOVED]
    assert not [path for path in tmp_path.rglob("*") if "run-1-image-" in path.name]


async def test_where_no_images_were_opened_none_are_closed(tmp_path: Path) -> None:
    world, beta = await new_world(tmp_path), Stuck("beta", tmp_path / "stuck")
    beta.found(BETA)
    assert (await make_world(world.alpha, beta).migrate()).outcome is RunState.DONE
    assert beta.closes == 0


async def test_what_a_migration_opened_of_images_is_closed_behind_it(tmp_path: Path) -> None:
    world = await new_world(tmp_path)
    await world.beta.add_image("base", "raw", content(4096))
    report = await world.migrate()
    assert report.vm_id
    entries = await world.context.ledger.entries("run-1", "beta")
    assert [one.state for one in entries if one.kind == KIND] == [LedgerState.REMOVED]
    assert not [path for path in tmp_path.rglob("*") if "run-1-image-" in path.name]
