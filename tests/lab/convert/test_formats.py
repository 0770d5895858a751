"""Every format into every other one: a guest must see the same disk. Real qemu-img, confined, as the test's
user.

One disk with data, runs of zeros, a single byte far in, and a size that no format's block size divides;
each of the eight forms is made once and is the source of eight conversions.
"""

import asyncio
import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.pace import slower

from crossport import errors
from crossport.convert.formats import Source, convert, driver_of, inspected
from crossport.convert.inspection import Format
from crossport.hypervisor.qemu_img import Image, QemuImg
from crossport.units import GIB, MIB, SECTOR, TIB

SIZE = 9 * MIB + 7 * SECTOR
TOOL = QemuImg(timeout_s=60)


def content() -> bytes:
    disk = bytearray(SIZE)
    noise = random.Random(20).randbytes  # noqa: S311 - test data
    disk[: 70 * 1024] = noise(70 * 1024)
    disk[3 * MIB - 100 : 4 * MIB + 1000] = noise(MIB + 1100)
    disk[6 * MIB + 5] = 1
    disk[-SECTOR:] = noise(SECTOR)
    return bytes(disk)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "disk.raw"
    path.write_bytes(content())
    return path


@pytest.fixture(scope="module")
def sources(original: Path) -> dict[Format, Path]:
    async def make() -> dict[Format, Path]:
        made = {Format.RAW: original}
        for kind in Format:
            if kind is not Format.RAW:
                made[kind] = original.with_name(f"disk.{kind}")
                await convert(Source(original, Format.RAW), made[kind], kind, tool=TOOL)
        return made

    return asyncio.run(make())


@pytest.mark.parametrize("target", list(Format))
@pytest.mark.parametrize("source", list(Format))
async def test_every_format_becomes_every_other_with_the_same_content(
    source: Format, target: Format, sources: dict[Format, Path], original: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    done = await convert(Source(sources[source]), path, target, tool=TOOL)
    assert done.source.format is source
    assert done.size == SIZE
    assert inspected(Source(path)).format is target
    assert inspected(Source(path)).virtual_size == SIZE
    plain = path
    if target is not Format.RAW:
        plain = tmp_path / "plain"
        await TOOL.convert(Image(path, driver_of(target)), plain, "raw")
    assert hashlib.sha256(plain.read_bytes()).digest() == hashlib.sha256(original.read_bytes()).digest()
    assert sorted(tmp_path.iterdir()) == sorted({path, plain})


async def test_a_fixed_vhd_is_the_disk_with_a_footer_of_one_sector(sources: dict[Format, Path]) -> None:
    written = sources[Format.VHD_FIXED].read_bytes()
    assert written[:SIZE] == content()
    assert written[SIZE : SIZE + 8] == b"conectix"
    assert len(written) == SIZE + SECTOR


async def test_progress_tells_the_step_and_its_share(original: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    target = tmp_path / "out"
    await convert(
        Source(original),
        target,
        Format.QCOW2,
        tool=TOOL,
        on_progress=lambda step, share: told.append((step, share)),
    )
    assert told[-1] == ("verify", 1.0)
    assert ("convert", 1.0) in told
    assert [step for step, _ in told] == sorted(step for step, _ in told)


async def test_a_target_that_exists_is_not_touched(original: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("precious")
    with pytest.raises(errors.Conflict) as caught:
        await convert(Source(original), target, Format.QCOW2, tool=TOOL)
    assert caught.value.code == "image.target.exists"
    assert target.read_text() == "precious"


async def test_a_cancelled_conversion_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "large.raw"
    with source.open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(MIB))
    work = tmp_path / "work"
    work.mkdir()
    started = asyncio.Event()
    task = asyncio.create_task(
        convert(
            Source(source, Format.RAW),
            work / "out",
            Format.VMDK_STREAM,
            tool=TOOL,
            on_progress=lambda _step, _share: started.set(),
        )
    )
    await asyncio.wait_for(started.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(work.iterdir()) == []


async def test_a_full_disk_is_named_and_leaves_nothing(original: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.NeedsAttention) as caught:
        await TOOL.convert(Image(original, "raw"), tmp_path / "out", "raw", file_size=MIB)
    assert caught.value.code == "hypervisor.space.exhausted"
    assert list(tmp_path.iterdir()) == []


async def test_a_raw_disk_that_looks_like_qcow2_is_converted_as_raw_when_accepted(
    sources: dict[Format, Path], tmp_path: Path
) -> None:
    disguised, target = sources[Format.QCOW2], tmp_path / "out"
    with pytest.raises(errors.Blocked) as caught:
        await convert(Source(disguised, Format.RAW), target, Format.RAW, tool=TOOL)
    assert caught.value.code == "image.format.embedded"
    accept = {"image.format.embedded"}
    await convert(Source(disguised, Format.RAW), target, Format.RAW, tool=TOOL, accept=accept)
    assert target.read_bytes() == disguised.read_bytes()


async def test_a_source_that_changes_meanwhile_is_refused(original: Path, tmp_path: Path) -> None:
    source = tmp_path / "disk.raw"
    source.write_bytes(original.read_bytes())

    def write(_step: str, _share: float) -> None:
        os.utime(source, ns=(0, 0))

    with pytest.raises(errors.Refused) as caught:
        await convert(Source(source), tmp_path / "out", Format.QCOW2, tool=TOOL, on_progress=write)
    assert caught.value.code == "image.source.changed"
    assert list(tmp_path.iterdir()) == [source]


async def test_what_was_inspected_is_read_though_its_name_means_another_file_by_then(
    original: Path, tmp_path: Path
) -> None:
    source, kept, secret = tmp_path / "disk.raw", tmp_path / "kept.raw", tmp_path / "secret"
    source.write_bytes(original.read_bytes())
    secret.write_bytes(b"secret".ljust(SIZE, b"!"))

    class Swapping(QemuImg):
        """An attacker with bad intentions and good timing."""

        async def convert(self, *arguments: Any, **options: Any) -> None:
            source.rename(kept)
            source.symlink_to(secret)
            await super().convert(*arguments, **options)
            source.unlink()
            kept.rename(source)

    target = tmp_path / "out"
    await convert(Source(source), target, Format.RAW, tool=Swapping())
    assert target.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("kind", list(Format))
@pytest.mark.parametrize("size", [SECTOR, MIB - SECTOR])
async def test_an_empty_disk_of_any_size_in_sectors_stays_what_it_is(
    size: int, kind: Format, tmp_path: Path
) -> None:
    source, there, back = tmp_path / "disk.raw", tmp_path / "there", tmp_path / "back"
    with source.open("wb") as file:
        file.truncate(size)
    await convert(Source(source, Format.RAW), there, kind, tool=TOOL)
    done = await convert(Source(there, kind), back, Format.RAW, tool=TOOL)
    assert done.size == size
    assert back.stat().st_size == size
    assert not any(back.read_bytes())


@pytest.mark.parametrize("kind", [Format.QCOW2, Format.VHD])
async def test_two_tebibytes_of_nothing_take_seconds(kind: Format, tmp_path: Path) -> None:
    source, target = tmp_path / "disk.raw", tmp_path / "out"
    size = 2040 * GIB if kind is Format.VHD else 2 * TIB
    with source.open("wb") as file:
        file.truncate(size)
        file.seek(size - SECTOR)
        file.write(b"end".ljust(SECTOR, b"!"))
    started = time.process_time()
    done = await convert(Source(source, Format.RAW), target, kind, tool=TOOL)
    assert done.size == size
    assert inspected(Source(target)).virtual_size == size
    assert time.process_time() - started < 5 * slower()
    assert target.stat().st_blocks * 512 < 300 * MIB


class Flipping(QemuImg):
    """The tool on a machine with bad memory: one bit of what it writes is wrong."""

    async def convert(self, *arguments: Any, **options: Any) -> None:
        await super().convert(*arguments, **options)
        target: Path = arguments[1]
        content = bytearray(target.read_bytes())
        content[-1] ^= 1
        target.write_bytes(bytes(content))


async def test_one_wrong_bit_in_the_written_image_is_noticed_and_nothing_is_left(
    original: Path, tmp_path: Path
) -> None:
    with pytest.raises(errors.Broken) as caught:
        await convert(Source(original), tmp_path / "out", Format.RAW, tool=Flipping())
    assert caught.value.code == "image.verify.failed"
    assert list(tmp_path.iterdir()) == []


def test_no_backing_file_is_followed_unless_the_caller_names_it(tmp_path: Path) -> None:
    top, base = tmp_path / "top", Image(tmp_path / "base", "raw")
    assert Image(top, "qcow2").node()["backing"] is None
    assert Image(top, "qcow2", backing=base).node()["backing"] == base.node()
    assert Image(top, "qcow2", backing=base).files() == (top, base.path)


async def test_a_chain_whose_backing_file_is_named_is_read_through(tmp_path: Path, original: Path) -> None:
    top, plain = tmp_path / "top.qcow2", tmp_path / "plain"
    await TOOL.create(top, "qcow2", SIZE)
    chain = Image(top, "qcow2", backing=Image(original, "raw"))
    await TOOL.convert(chain, plain, "raw")
    assert plain.read_bytes() == content()


async def test_the_wrapper_measures_maps_checks_resizes_and_compares(
    sources: dict[Format, Path], tmp_path: Path
) -> None:
    image = Image(sources[Format.QCOW2], "qcow2")
    measured = await TOOL.measure(image, "qcow2")
    assert MIB < measured.required < SIZE < measured.full
    extents = await TOOL.map(image)
    assert sum(extent.size for extent in extents) == SIZE
    assert {extent.zero for extent in extents} == {True, False}
    assert (await TOOL.check(image)).corruptions == 0
    own = tmp_path / "own.qcow2"
    await TOOL.create(own, "qcow2", MIB)
    await TOOL.resize(Image(own, "qcow2"), 2 * MIB)
    assert (await TOOL.info(Image(own, "qcow2"))).virtual_size == 2 * MIB
    with pytest.raises(errors.Invalid) as caught:
        await TOOL.resize(Image(own, "qcow2"), MIB)
    assert caught.value.code == "hypervisor.image.shrink"
    assert not await TOOL.compare(image, Image(own, "qcow2"))
