"""The disks that are copied: real files of this machine, noise, mostly zeros, and many tiny extents.

Each is the same on every run of one machine: files are chosen in the order of their names.
"""

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from crossport.testing.guest import rootfs
from crossport.units import GIB, KIB, MIB

__all__ = ["MIXES", "Mix", "allocated", "data_extents", "made", "same"]

_NOISE_BLOCK = 4 * MIB


@dataclass(frozen=True)
class Mix:
    """One kind of disk: ``used`` bytes of data in ``size``."""

    name: str
    size: int
    used: int
    write: Callable[[Path, "Mix"], None]


def made(mix: Mix, folder: Path) -> Path:
    """Return the disk as a sparse raw file; made once and kept in ``folder``."""
    path = folder / f"{mix.name}-{mix.used >> 20}.raw"
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with part.open("wb") as file:
            file.truncate(mix.size)
        mix.write(part, mix)
        part.rename(path)
    return path


def data_extents(path: Path) -> Iterator[tuple[int, int]]:
    """Return where a sparse file holds data: the first byte and the one after the last."""
    with path.open("rb") as file:
        stop = 0
        while True:
            try:
                start = os.lseek(file.fileno(), stop, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return  # there is no more
            stop = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, stop


def allocated(path: Path) -> dict[str, int]:
    """Return how much data a disk holds, and to what ``zstd -1`` packs it."""
    packer, size, packed = zstandard.ZstdCompressor(level=1).compressobj(), 0, 0
    with path.open("rb") as file:
        for start, stop in data_extents(path):
            file.seek(start)
            for at in range(start, stop, _NOISE_BLOCK):
                part = file.read(min(_NOISE_BLOCK, stop - at))
                size += len(part)
                packed += len(packer.compress(part))
    packed += len(packer.flush())
    return {"size": path.stat().st_size, "data_bytes": size, "zstd1_bytes": packed}


def same(source: Path, target: Path) -> None:
    """Compare all bytes; holes need no reading. End the bench when they differ."""
    said = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        raise SystemExit(f"The target is not as the source: {said.stdout}{said.stderr}")


def _debian(path: Path, mix: Mix) -> None:
    """A file system with files of /usr, as a guest has it."""
    tree = rootfs.Tree(folders=(), links={}, files={})
    rootfs.write_root(path, start=0, size=mix.size, tree=tree, fill=rootfs.filling(mix.used))


def _noise(path: Path, mix: Mix) -> None:
    """What is encrypted or compressed already."""
    with path.open("r+b") as file:
        for number in range(mix.used // _NOISE_BLOCK):
            file.write(_random(number, _NOISE_BLOCK))


def _zeros(path: Path, mix: Mix) -> None:
    """Four fifths are zeros that were written: the file system holds no hole for them."""
    with path.open("r+b") as file:
        for number in range(mix.used // _NOISE_BLOCK):
            file.write(_text(number, _NOISE_BLOCK // 5) + bytes(_NOISE_BLOCK - _NOISE_BLOCK // 5))


def _tiny(path: Path, mix: Mix) -> None:
    """Data of 8 KiB every 40 KiB."""
    with path.open("r+b") as file:
        for number in range(mix.used // (8 * KIB)):
            os.pwrite(file.fileno(), _text(number, 8 * KIB), number * 40 * KIB)


def _random(number: int, size: int) -> bytes:
    return hashlib.shake_128(b"noise %d" % number).digest(size)


def _text(number: int, size: int) -> bytes:
    """Half noise, half repetition: compresses to about a half."""
    noise = _random(number, size // 2)
    return b"".join(noise[at : at + 64] + bytes(64) for at in range(0, len(noise), 64))[:size]


MIXES = {
    mix.name: mix
    for mix in (
        Mix("debian", 4 * GIB, 800_000_000, _debian),
        Mix("incompressible", 4 * GIB, 512 * MIB, _noise),
        Mix("zeros", 4 * GIB, 1024 * MIB, _zeros),
        Mix("tiny", 4 * GIB, 256 * MIB, _tiny),
    )
}
