"""The guest's root file system: ext4 with a journal, written by debugfs straight into the disk file.

debugfs rather than ``mke2fs -d``: it takes the clock, the order and the owner from us, so two builds are
equal, and files that only fill the disk are read from where they are instead of being copied first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crossport.appliance.programs import run
from crossport.errors import Broken
from crossport.units import KIB, MIB

__all__ = ["Tree", "filling", "needed_size", "write_root"]

BLOCK = 4 * KIB
JOURNAL_MIB = 4
INODE = 256
FREE = 8 * MIB  # left for what is stored in the guest when the image is made as small as it can be
SPARE_INODES = 1024

# debugfs reads commands by line and word: only names that need no quoting are taken to fill the disk.
_PLAIN = re.compile(r"[A-Za-z0-9_./+=@:,-]+")
_FILL_FROM = (Path("/usr/lib"), Path("/usr/share"), Path("/usr/bin"), Path("/usr/sbin"))


@dataclass(frozen=True, slots=True)
class Tree:
    """What goes in: ``folders``, ``links`` (path to target), ``files`` (path to source and mode)."""

    folders: tuple[str, ...]
    links: dict[str, str]
    files: dict[str, tuple[Path, int]]


@dataclass(frozen=True, slots=True)
class Filler:
    """A file of this machine whose first ``size`` bytes fill the guest's disk."""

    source: Path
    size: int
    stamp: int


def filling(size: int) -> tuple[Filler, ...]:
    """Choose files of this machine's Debian that make up at least ``size`` bytes, less than one file more.

    The order is by name, so the same machine gives the same files. Links, odd names and compiled Python are
    passed over. Raise `Broken` if the machine has not that much.
    """
    chosen: list[Filler] = []
    left = size
    for path in _candidates():
        if left <= 0:
            break
        facts = path.stat()
        if facts.st_size:
            chosen.append(Filler(path, facts.st_size, facts.st_mtime_ns))
            left -= facts.st_size
    if left > 0:
        raise Broken(
            "guest.fill.too-little",
            f"This machine's /usr is {left} bytes short of filling the guest with {size} bytes.",
            remedy="Ask for less.",
        )
    return tuple(chosen)


def needed_size(tree: Tree, fill: tuple[Filler, ...]) -> int:
    """Return how many bytes the file system must have to hold everything and a little more."""
    sizes = [source.stat().st_size for source, _ in tree.files.values()] + [filler.size for filler in fill]
    data = sum(-(-size // BLOCK) * BLOCK for size in sizes)
    folders = len(tree.folders) + len(_folders(fill))
    count = len(sizes) + folders + len(tree.links) + SPARE_INODES
    # One per cent covers bitmaps, long extent lists and large folders (measured: 0.6 % at 800 MB).
    overhead = folders * BLOCK + count * INODE + (JOURNAL_MIB + 2) * MIB
    return data + data // 100 + overhead + FREE


def write_root(disk: Path, *, start: int, size: int, tree: Tree, fill: tuple[Filler, ...]) -> None:
    """Make the file system at ``start`` of ``disk``, fill and check it. Raise `Broken` if it is not clean."""
    count = len(tree.files) + len(tree.folders) + len(tree.links) + len(fill) + len(_folders(fill))
    run(
        "mke2fs",
        *(
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            str(BLOCK),
            "-I",
            str(INODE),
            "-m",
            "0",
            "-O",
            "^resize_inode",
            "-L",
            "crossport-root",
        ),
        *("-N", str(count + SPARE_INODES), "-J", f"size={JOURNAL_MIB}"),
        *("-U", "c7055b07-0000-4000-8000-000000000004"),
        # Nothing is left for the guest to write in the background after it booted.
        *("-E", f"offset={start},lazy_itable_init=0,lazy_journal_init=0,{_HASH_SEED}"),
        disk,
        f"{size // KIB}k",
    )
    place = f"{disk}?offset={start}"
    said = run("debugfs", "-w", "-f", "-", place, text="\n".join(_commands(tree, fill)) + "\n")
    failures = [line for line in said.splitlines() if not line.startswith(("debugfs", "Allocated inode"))]
    if failures:
        raise Broken("guest.root.unwritable", f"The guest's root could not be written: {failures[0]}")
    run("e2fsck", "-f", "-n", place)


_HASH_SEED = "hash_seed=c7055b07-0000-4000-8000-000000000005"


def _candidates() -> Iterator[Path]:
    for top in _FILL_FROM:
        for path in sorted(top.rglob("*")):
            plain = _PLAIN.fullmatch(str(path)) and "__pycache__" not in path.parts
            if plain and path.is_file() and not path.is_symlink():
                yield path


def _folders(fill: tuple[Filler, ...]) -> list[str]:
    found = {
        f"/fill{parent}" for filler in fill for parent in map(str, filler.source.parents) if parent != "/"
    }
    return sorted(found | {"/fill"}) if fill else []


def _commands(tree: Tree, fill: tuple[Filler, ...]) -> Iterator[str]:
    for folder in (*sorted(tree.folders), *_folders(fill)):
        yield f"mkdir {folder}"
        yield f"sif {folder} mode 040755"
    for path, (source, mode) in sorted(tree.files.items()):
        yield f"write {source} {PurePosixPath(path)}"
        yield f"sif {path} mode 0{0o100000 | mode:o}"
    for path, target in sorted(tree.links.items()):
        yield f"symlink {path} {target}"
    for filler in fill:
        yield f"write {filler.source} /fill{filler.source}"
        yield f"sif /fill{filler.source} mode 0100644"
