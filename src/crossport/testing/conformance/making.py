"""What every cloud that takes images, and every maker of clouds, promises.

`ImageStoreConformance` is derived from beside the abilities of `crossport.testing.conformance.cloud`, by the
same rules. `CloudMakerConformance` needs the fixtures ``maker`` and ``folder``, below which it makes clouds.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossport import errors
from crossport.model.construct import Network
from crossport.model.request import CloudEntry, CloudRequest
from crossport.spi.making import CloudMaker, ImageStore
from crossport.testing.conformance.cloud import CloudStage, StagedConformance

__all__ = ["CloudMakerConformance", "ImageStoreConformance"]

OFFICE = Network(name="office", cidr="10.5.0.0/24", gateway="10.5.0.1")
SIZE = 1 << 20


async def _content(size: int = SIZE) -> AsyncIterator[bytes]:
    yield b"boot" + bytes(size // 2 - 4)
    yield bytes(size - size // 2)


async def _cut_off() -> AsyncIterator[bytes]:
    yield b"boot"
    raise errors.Unavailable("request.body.cut", "The client left.", remedy="Send it again.")


class ImageStoreConformance(StagedConformance):
    """Images come whole or not at all, and each has a name of its own."""

    @pytest.fixture
    def store(self, stage: CloudStage) -> ImageStore:
        """Return the cloud as what takes images in."""
        assert isinstance(stage.cloud, ImageStore)
        return stage.cloud

    async def test_an_image_is_kept_under_its_name(self, store: ImageStore, run: str):
        image = await store.add_image(run, "raw", _content())
        assert (image.name, image.format, image.size) == (run, "raw", SIZE)
        assert image in await store.images()
        names = [one.name for one in await store.images()]
        assert names == sorted(names)
        await store.drop_image(run)

    async def test_a_name_of_an_image_is_used_once(self, store: ImageStore, run: str):
        image = await store.add_image(run, "raw", _content())
        with pytest.raises(errors.Conflict) as refusal:
            await store.add_image(run, "raw", _content(SIZE // 2))
        assert (refusal.value.code, refusal.value.field) == ("image.exists", "name")
        assert image in await store.images()
        await store.drop_image(run)

    async def test_an_image_is_deleted_as_often_as_one_likes(self, store: ImageStore, run: str):
        await store.add_image(run, "raw", _content())
        for _ in range(2):
            await store.drop_image(run)
        assert run not in [one.name for one in await store.images()]

    async def test_nothing_is_kept_of_an_image_that_does_not_arrive(self, store: ImageStore, run: str):
        with pytest.raises(errors.Error):
            await store.add_image(run, "raw", _cut_off())
        assert run not in [one.name for one in await store.images()]


class CloudMakerConformance:
    """Each tenant's clouds have a place of their own, and only they are removed."""

    driver = ""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return where clouds are made."""
        return tmp_path / "clouds"

    @pytest.fixture
    def maker(self, folder: Path) -> CloudMaker:
        """Return the maker under test."""
        raise NotImplementedError("the implementation under test gives this fixture")

    async def test_two_tenants_may_use_one_name(self, maker: CloudMaker, folder: Path):
        for tenant in ("acme", "umbrella"):
            entry = await maker.make(tenant, CloudRequest(name="lab", networks=(OFFICE,)))
            assert Path(entry.settings["path"]) == folder / tenant / "lab"
            assert entry.driver == self.driver
        with pytest.raises(errors.Conflict) as refusal:
            await maker.make("acme", CloudRequest(name="lab"))
        assert refusal.value.code == "cloud.exists"

    @pytest.mark.parametrize("tenant", [".", ".."])
    async def test_a_tenant_cannot_leave_its_place(self, maker: CloudMaker, tenant: str):
        with pytest.raises(errors.Invalid) as refusal:
            await maker.make(tenant, CloudRequest(name="lab"))
        assert refusal.value.code == "tenant.name.wrong"

    async def test_only_a_cloud_of_the_tenant_s_own_is_removed(self, maker: CloudMaker, folder: Path):
        theirs = await maker.make("umbrella", CloudRequest(name="lab"))
        up = {"path": f"{folder}/acme/../umbrella/lab"}
        for entry in (
            theirs,
            CloudEntry(name="x", driver=self.driver, settings={"path": str(folder.parent)}),
            CloudEntry(name="x", driver=self.driver, settings=up),
            CloudEntry(name="x", driver="another"),
        ):
            with pytest.raises(errors.Refused) as refusal:
                await maker.unmake("acme", entry, confirmed=True)
            assert refusal.value.code == "cloud.not-made-here"
        with pytest.raises(errors.Conflict):
            await maker.make("umbrella", CloudRequest(name="lab"))  # it is there

    async def test_one_whose_directory_is_gone_can_still_be_forgotten(self, maker: CloudMaker, folder: Path):
        entry = CloudEntry(name="lab", driver=self.driver, settings={"path": f"{folder}/acme/lab"})
        (said,) = await maker.unmake("acme", entry, confirmed=True)
        assert "is gone" in said
