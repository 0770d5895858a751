"""What every cloud promises that publishes images: who may read them, and that nobody can write them."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from crossport import errors
from crossport.model.artifact import Artifact, DiskRef, Role
from crossport.spi.cloud import Publisher
from crossport.testing.conformance.cloud import CloudStage, StagedConformance, act, refused_as_old

__all__ = ["PublisherConformance"]

_SIZE = 1 << 20


async def _content(filling: bytes) -> AsyncIterator[bytes]:
    yield filling * (_SIZE // len(filling))


def _artifact(ref: DiskRef) -> Artifact:
    return Artifact(role=Role.DISK, name="image", ref=ref)


class PublisherConformance(StagedConformance):
    """The stage's cloud takes images in, too, and if asked for a ``project`` alone."""

    @pytest.fixture
    def publisher(self, stage: CloudStage) -> Publisher:
        """Return the cloud as what publishes images."""
        assert isinstance(stage.cloud, Publisher)
        return stage.cloud

    async def test_an_image_can_be_read_as_a_disk(
        self, stage: CloudStage, publisher: Publisher, run: str
    ) -> None:
        image = await stage.cloud.add_image(run, "raw", _content(b"base"))
        assert image in await publisher.published()
        for _ in range(2):
            (ref,) = await publisher.open_images(act(run, "open"), (image.id,))
            assert ref.size == _SIZE
            assert await stage.content(_artifact(ref)) == b"base" * (_SIZE // 4)
        await publisher.close_images(act(run, "close"))
        await stage.cloud.drop_image(run)
        assert image not in await publisher.published()

    async def test_the_newest_image_comes_first_and_ids_are_of_the_content(
        self, stage: CloudStage, publisher: Publisher, run: str
    ) -> None:
        first = await stage.cloud.add_image(f"{run}-z", "raw", _content(b"old!"))
        second = await stage.cloud.add_image(f"{run}-a", "raw", _content(b"new!"))
        names = [image.name for image in await publisher.published()]
        assert names.index(second.name) < names.index(first.name)
        await stage.cloud.drop_image(first.name)
        again = await stage.cloud.add_image(first.name, "raw", _content(b"else"))
        assert len({first.id, second.id, again.id}) == 3
        for name in (first.name, second.name):
            await stage.cloud.drop_image(name)

    async def test_an_image_of_another_project_is_not_there(
        self, stage: CloudStage, publisher: Publisher, run: str
    ) -> None:
        theirs = await stage.cloud.add_image(run, "raw", _content(b"base"), project=stage.other_project)
        assert theirs.id not in [image.id for image in await publisher.published()]
        codes = list[tuple[str, str]]()
        for image_id in (theirs.id, "there-is-none"):
            with pytest.raises(errors.NotFound) as refusal:
                await publisher.open_images(act(run, "open"), (image_id,))
            codes.append((refusal.value.code, refusal.value.text.replace(image_id, "")))
        assert codes[0] == codes[1]
        assert codes[0][0] == "image.unknown"
        await stage.cloud.drop_image(run)

    async def test_nobody_writes_an_image(self, stage: CloudStage, publisher: Publisher, run: str) -> None:
        image = await stage.cloud.add_image(run, "raw", _content(b"base"))
        (ref,) = await publisher.open_images(act(run, "open"), (image.id,))
        with contextlib.suppress(errors.Error):
            await stage.fill(_artifact(ref), b"evil")
        await publisher.close_images(act(run, "close"))
        (again,) = await publisher.open_images(act(run, "open"), (image.id,))
        assert (await stage.content(_artifact(again))).startswith(b"base")
        await publisher.close_images(act(run, "close"))
        await stage.cloud.drop_image(run)

    async def test_images_are_closed_as_often_as_one_likes(
        self, stage: CloudStage, publisher: Publisher, run: str
    ) -> None:
        image = await stage.cloud.add_image(run, "raw", _content(b"base"))
        (ref,) = await publisher.open_images(act(run, "open"), (image.id,))
        await stage.cloud.drop_image(run)
        for _ in range(2):
            await publisher.close_images(act(run, "close"))
        with pytest.raises((errors.Error, OSError)):
            await stage.content(_artifact(ref))

    async def test_a_lower_epoch_opens_and_closes_no_image(self, publisher: Publisher, run: str) -> None:
        await publisher.close_images(act(run, "close"))
        await refused_as_old(publisher.close_images, run)
        await refused_as_old(lambda old: publisher.open_images(old, ()), run)
