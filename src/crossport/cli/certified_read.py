"""The files of a certified image as they lie: one archive, or a directory. Each is opened once.

What was measured is what is read later, whatever has its name by then; a file that changes meanwhile is
refused. Disks are written out as a guest sees them into a temporary file, one at a time (``TMPDIR``).
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.certify.archive import entries
from crossport.certify.package import Described
from crossport.certify.refusal import refused
from crossport.convert.findings import refuse
from crossport.convert.formats import OnProgress, Source, convert, identity, inspected, require_unchanged
from crossport.convert.inspection import Format
from crossport.convert.ova import directory_members
from crossport.convert.ovf_read import read_descriptor
from crossport.convert.reader import FileReader, SliceReader, held, opened
from crossport.hypervisor.qemu_img import QemuImg
from crossport.model.certified import SealedDisk
from crossport.units import MIB

__all__ = ["PackageOnDisk", "guest_chunks", "opened_package"]


@dataclass(frozen=True, slots=True)
class _File:
    """One file: ``size`` bytes from ``start`` of what is open, which was ``before`` when it was opened."""

    reader: FileReader
    start: int
    size: int
    before: tuple[int, int, int, int]


class PackageOnDisk:
    """A package; `opened_package` opens one. Implements `crossport.certify.package.PackageFiles`."""

    def __init__(
        self,
        descriptor: str,
        files: dict[str, _File],
        told: OnProgress,
        accept: Collection[str],
        *,
        alone: bool,
    ) -> None:
        self._descriptor = descriptor
        self._files = files
        self._told = told
        self._accept = accept
        self._alone = alone

    @property
    def descriptor(self) -> str:
        """The name of the descriptor."""
        return self._descriptor

    @property
    def names(self) -> Collection[str]:
        """The names of all files."""
        return self._files

    @property
    def alone(self) -> bool:
        """Whether it is an archive."""
        return self._alone

    def content(self, name: str, most: int) -> bytes:
        """Return a small file; of one longer than ``most`` bytes one byte more."""
        file = self._files[name]
        part = SliceReader(file.reader, file.start, file.size)
        return part.read_at(0, min(file.size, most + 1))

    def digest(self, name: str) -> tuple[int, str]:
        """Return the length and the hex SHA-256 of a file."""
        file, running = self._files[name], hashlib.sha256()
        for at in range(0, file.size, MIB):
            running.update(file.reader.read_at(file.start + at, min(MIB, file.size - at)))
            self._told(f"digest of {name}", min((at + MIB) / file.size, 1.0))
        return file.size, running.hexdigest()

    def described(self, descriptor: bytes) -> tuple[str, Sequence[Described]]:
        """Return the name of the VM and its disks; raise Refused for a hostile descriptor."""
        found = read_descriptor(descriptor)
        refuse(found.findings, self._descriptor, self._accept)
        return found.appliance.name, [Described(disk.file, disk.size) for disk in found.appliance.disks]

    def chunks(self, disk: SealedDisk) -> Iterator[bytes | int]:
        """Yield what the guest sees of a disk; raise Refused for a hostile image, and before anything is
        written for one of another size."""
        name = disk.file or disk.id
        file = self._files[name]
        window = (file.start, -(-file.size // 512) * 512) if file.start else None
        stated = Format(disk.format) if disk.format in set(Format) else None
        source = Source(held(file.reader), stated, window, name)
        found = inspected(source)
        if not found.blockers and found.virtual_size != disk.size:
            raise refused("seal.disk.content", field=name, disk=disk.id)
        yield from guest_chunks(source, disk.chunk_size, self._told, self._accept)
        self._require_unchanged(name)

    def _require_unchanged(self, name: str) -> None:
        file = self._files[name]
        require_unchanged(file.reader.descriptor, file.before, name)


def opened_package(
    path: Path, files: ExitStack, told: OnProgress, accept: Collection[str] = ()
) -> PackageOnDisk:
    """Open a package, .ova or .ovf; ``files`` closes it. Step 1 of the verification: raise Refused for an
    archive that is not as it was written, Invalid ``package.kind.unknown``."""
    reader = files.enter_context(opened(path))
    before = identity(reader.descriptor)
    match path.suffix.lower():
        case ".ova":
            found = {each.name: _File(reader, each.start, each.size, before) for each in entries(reader)}
            names = [name for name in found if name.lower().endswith(".ovf")]
            if len(names) != 1:
                raise refused("seal.archive.altered", field=path.name, why=f"it has {len(names)} descriptors")
            return PackageOnDisk(names[0], found, told, accept, alone=True)
        case ".ovf":
            found = {path.name: _File(reader, 0, reader.size, before)}
            for name, member in directory_members(path).items():
                if name not in found and member.name.startswith(path.stem):
                    found[name] = _opened(member.path, files)
            return PackageOnDisk(path.name, found, told, accept, alone=False)
        case _:
            raise errors.Invalid(
                "package.kind.unknown",
                f"{path.name} ends neither in .ova nor in .ovf.",
                remedy="Name a certified image; crossport image seal makes one.",
                field="package",
            )


def guest_chunks(
    source: Source, chunk_size: int, told: OnProgress, accept: Collection[str] = ()
) -> Iterator[bytes | int]:
    """Yield the chunks of the disk in an image; a number stands for so many whole chunks of zeros.

    Raise what `crossport.convert.formats.convert` raises.
    """
    with tempfile.TemporaryDirectory(prefix="crossport-") as name:
        raw = Path(name) / "disk.raw"
        asyncio.run(convert(source, raw, Format.RAW, tool=QemuImg(), accept=accept, on_progress=told))
        with opened(raw) as reader:
            yield from _chunks(reader.descriptor, reader.size, chunk_size)


def _chunks(descriptor: int, size: int, chunk_size: int) -> Iterator[bytes | int]:
    place = 0
    while place < size:
        zeros = (_data(descriptor, place, size) - place) // chunk_size
        if zeros:
            yield zeros
            place += zeros * chunk_size
            continue
        chunk = os.pread(descriptor, min(chunk_size, size - place), place)
        yield chunk
        place += len(chunk)


def _data(descriptor: int, place: int, size: int) -> int:
    """Return where data begins again, from ``place`` on."""
    try:
        return os.lseek(descriptor, place, os.SEEK_DATA)
    except OSError:  # ENXIO: none does
        return size


def _opened(path: Path, files: ExitStack) -> _File:
    reader = files.enter_context(opened(path))
    return _File(reader, 0, reader.size, identity(reader.descriptor))
