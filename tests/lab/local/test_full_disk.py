"""A cloud whose file system runs full in the middle of a copy says so, goes on, and can be cleaned."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.local.clouds import act

from crossport import errors
from crossport.hypervisor import nbd
from crossport.model.artifact import Role
from crossport.spi.cloud import RoomFor
from crossport.units import MIB

pytestmark = [pytest.mark.qemu, pytest.mark.root]


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """Return a file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def patiently(call: Callable[[], Awaitable[object]]) -> object:
    """Do as the engine does with what may be done again."""
    for _ in range(3):
        try:
            return await call()
        except errors.Unavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("three times in vain")


def write_all(writer: nbd.NbdDisk) -> None:
    for start in range(0, 48 * MIB, MIB):
        writer.write(start, b"x" * MIB)


async def test_a_copy_that_fills_the_disk_fails_and_leaves_nothing(small: Path, tmp_path: Path):
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    async with clouds.running_cloud(small / "alpha", image, network="user", overcommit=4.0) as cloud:
        rooms = (RoomFor(name="disk-0", role=Role.DISK, size=48 * MIB),)
        (disk,) = await cloud.prepare_import(act("prepare"), rooms)
        writer = nbd.open_disk(disk.ref.locator, writable=True)
        with pytest.raises(errors.Error) as failure:
            write_all(writer)
        writer.close()
        assert failure.value.code == "nbd.disk.full"
        more = act("more", run="run-2")
        with pytest.raises(errors.Blocked) as refusal:
            await patiently(lambda: cloud.prepare_import(more, rooms))
        assert (refusal.value.code, refusal.value.field) == ("cloud.disk.full", "disk")
        (thing,) = await cloud.tagged("run-1")
        await patiently(lambda: cloud.remove(act("remove"), thing))
        assert await cloud.tagged("run-1") == ()
        assert await cloud.prepare_import(more, rooms)


async def test_an_image_that_would_fill_the_disk_is_refused_with_its_need_and_leaves_nothing(
    small: Path, tmp_path: Path
):
    image, large = tmp_path / "image", tmp_path / "large"
    image.write_bytes(bytes(MIB))
    large.write_bytes(b"x" * 20 * MIB)
    async with clouds.running_cloud(small / "alpha", image, network="user", overcommit=4.0) as cloud:
        with pytest.raises(errors.Blocked) as refusal:
            await cloud.register_image("large", large)
        assert (refusal.value.code, refusal.value.field) == ("image.disk.full", "disk")
        assert "MiB left" in refusal.value.text
        assert [one.name for one in await cloud.images()] == [clouds.IMAGE]
        assert not [path for path in (small / "alpha/images").iterdir() if path.stat().st_size > MIB]
        with pytest.raises(errors.Invalid, match=r"image\.name\.invalid"):
            await cloud.register_image("two words", image)
