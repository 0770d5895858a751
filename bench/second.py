"""VMs of the same base: the second one after the first, one in a file system built anew, and four at once.

Then the first one, where the target publishes its image, or another one.

What the target provably lacks are the blocks of 4 KiB that no disk before had, packed by zstd as one stream.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import zstandard

from crossport.appliance.programs import run
from crossport.model.artifact import Moved
from crossport.testing.guest import rootfs
from crossport.transfer.stocks import Stocks
from crossport.units import GIB, KIB, MIB
from link import Ends
from mix import Mix, data_extents, made, same
from ours import Copier

__all__ = ["second"]

_BLOCK = 4 * KIB
_PACKAGES = 12 * MIB
_AT_ONCE = 4
_STOCK = 2 * GIB


def second(folder: Path, mix: Mix, ends: Ends) -> list[dict[str, Any]]:
    """Copy a base, then what comes of it; return what crossed the link, beside what had to."""
    base = made(mix, folder)
    installed = _installed(base, mix, 0)
    anew = _anew(folder, mix)
    rows = [_round(folder, ends, each, base) for each in _rounds(base, installed, anew, mix)]
    shutil.rmtree(folder / "stocks")
    for disk in (installed, anew):
        disk.unlink()
    return rows


@dataclass(frozen=True)
class _Round:
    """Disks that go together; ``has_base`` says that the target has the base, as ``image`` or from before."""

    name: str
    disks: list[Path]
    has_base: bool = False
    image: Path | None = None


def _rounds(base: Path, installed: Path, anew: Path, mix: Mix) -> Iterator[_Round]:
    stocks = base.parent / "stocks"
    yield _Round("the base", [base])
    yield _Round("a second VM, two packages more", [installed], has_base=True)
    yield _Round("the same files, file system made anew", [anew], has_base=True)
    shutil.rmtree(stocks)
    yield _Round("base image published by the target, two packages more", [installed], True, base)
    shutil.rmtree(stocks)
    yield _Round("the base, another image published", [base], image=anew)
    shutil.rmtree(stocks)
    cluster = [_installed(base, mix, number) for number in range(1, _AT_ONCE + 1)]
    yield _Round(f"{_AT_ONCE} VMs at once, nothing there", cluster)
    for disk in cluster:
        disk.unlink()


def _round(folder: Path, ends: Ends, each: _Round, base: Path) -> dict[str, Any]:
    lacking, packed = _lacking(each.disks, _blocks_of(base) if each.has_base else set[bytes]())
    before, began = ends.passed_bytes(), time.monotonic()
    moved = asyncio.run(_copied(folder, ends, each))
    row = {
        "what": each.name,
        "seconds": time.monotonic() - began,
        "wire_bytes": ends.passed_bytes() - before,
        "lacking_bytes": lacking,
        "lacking_packed_bytes": packed,
        "shared_bytes": sum(one.counters.shared for one in moved),
        "offered_bytes": sum(one.counters.offered for one in moved),
    }
    print(f"{each.name}: {row['wire_bytes']} bytes for {packed}", file=sys.stderr)
    return row


async def _copied(folder: Path, ends: Ends, each: _Round) -> list[Moved]:
    return await asyncio.gather(*(_one(folder, ends, disk, each.image) for disk in each.disks))


async def _one(folder: Path, ends: Ends, source: Path, image: Path | None) -> Moved:
    """Copy a disk to an empty target, as a migration of its own."""
    target, journals = source.with_suffix(".target"), folder / f"{source.stem}.journals"
    await asyncio.to_thread(run, "truncate", "-r", source, target)
    copier = Copier(source, target, ends, journals, Stocks(folder / "stocks", _STOCK), image)
    moved = await copier.copied()
    await asyncio.to_thread(same, source, target)
    target.unlink()
    shutil.rmtree(journals)
    return moved


def _installed(base: Path, mix: Mix, number: int) -> Path:
    """Return a copy of the base with another name in it, and the files of two packages more."""
    path = base.with_name(f"installed-{number}.raw")
    run("cp", "--sparse=always", base, path)
    more = rootfs.filling(mix.used + _PACKAGES)[len(rootfs.filling(mix.used)) :]
    name = base.with_name("hostname")
    name.write_text(f"guest-{number}\n")
    words = ["mkdir /etc", f"write {name} /etc/hostname", "mkdir /installed"]
    words += [f"write {one.source} /installed/{place}-{one.source.name}" for place, one in enumerate(more)]
    subprocess.run(
        ["debugfs", "-w", "-f", "-", str(path)], input="\n".join(words), text=True, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return path


def _anew(folder: Path, mix: Mix) -> Path:
    """Return a disk with the same files, written in another order into a larger file system."""
    path, size = folder / "anew.raw", mix.size + mix.size // 4
    with path.open("wb") as file:
        file.truncate(size)
    fill = tuple(reversed(rootfs.filling(mix.used)))
    rootfs.write_root(path, start=0, size=size, tree=rootfs.Tree(folders=(), links={}, files={}), fill=fill)
    return path


def _lacking(disks: list[Path], known: set[bytes]) -> tuple[int, int]:
    """Return how many bytes are in no block that is known or was seen before, and how many packed."""
    packer, size, packed = zstandard.ZstdCompressor().compressobj(), 0, 0
    for disk in disks:
        for block in _blocks(disk):
            digest = blake2b(block, digest_size=16).digest()
            if digest not in known:
                known.add(digest)
                size += len(block)
                packed += len(packer.compress(block))
    return size, packed + len(packer.flush())


def _blocks_of(disk: Path) -> set[bytes]:
    return {blake2b(block, digest_size=16).digest() for block in _blocks(disk)}


def _blocks(disk: Path) -> Iterator[bytes]:
    """Return the blocks that hold data."""
    nothing = bytes(_BLOCK)
    with disk.open("rb") as file:
        for start, stop in data_extents(disk):
            file.seek(start)
            for _ in range(start, stop, _BLOCK):
                if (block := file.read(_BLOCK)) != nothing:
                    yield block
