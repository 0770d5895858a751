"""Turn a disk image into the same disk in another form: inspect, convert with a confined tool, verify.

What a guest sees stays the same to the last sector; a VHD keeps its exact size (``force_size``) instead of
growing to a whole number of cylinders. The target appears under its name only when it is finished and was
compared with the source; nothing is ever overwritten.
"""

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.convert.findings import refuse
from crossport.convert.inspect import inspect
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import FileReader, Reader, SliceReader, missing, opened
from crossport.hypervisor.qemu_img import Driver, Image, QemuImg
from crossport.units import GIB, MIB, SECTOR, size_text

__all__ = [
    "Converted",
    "OnProgress",
    "Source",
    "convert",
    "driver_of",
    "identity",
    "inspected",
    "require_unchanged",
]

OnProgress = Callable[[str, float], None]
"""Called with the step (``convert``, ``verify``, …) and the finished share of it, 0 to 1."""

_MAX_VHD = 2040 * GIB
_TARGETS: dict[Format, tuple[Driver, dict[str, str]]] = {
    Format.RAW: ("raw", {}),
    Format.QCOW2: ("qcow2", {}),
    Format.VMDK: ("vmdk", {"subformat": "monolithicSparse"}),
    Format.VMDK_STREAM: ("vmdk", {"subformat": "streamOptimized"}),
    Format.VHD: ("vpc", {"subformat": "dynamic", "force_size": "on"}),
    Format.VHD_FIXED: ("vpc", {"subformat": "fixed", "force_size": "on"}),
    Format.VHDX: ("vhdx", {}),
    Format.VDI: ("vdi", {}),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image lies: a file, or a window (start, size) of one; and what its sender says it is."""

    path: Path
    stated: Format | None = None
    window: tuple[int, int] | None = None
    name: str = ""
    """What people call it, when it is not the file's own name."""

    def __str__(self) -> str:
        return self.name or self.path.name


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished image. ``size`` is what a guest sees, ``file_size`` the length of the file, both in
    bytes."""

    path: Path
    format: Format
    size: int
    file_size: int
    source: Inspection


def driver_of(kind: Format) -> Driver:
    """Return QEMU's name for the driver of a format."""
    return _TARGETS[kind][0]


def inspected(source: Source) -> Inspection:
    """Inspect where ``source`` lies. Raise NotFound or Invalid if there is no such file."""
    with opened(source.path) as reader:
        return _inspected(source, reader)


def identity(path: Path | int) -> tuple[int, int, int, int]:
    """Return what changes when a file (by its path or open) is replaced or written: device, inode, size, time
    of modification.

    Raise NotFound ``image.file.missing``.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - takes a descriptor too
    except FileNotFoundError as error:
        raise missing(Path(str(path))) from error
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def require_unchanged(file: Path | int, before: tuple[int, int, int, int], name: str) -> None:
    """Raise Refused ``image.source.changed`` if ``file`` has not the `identity` it had ``before``; people
    call it ``name``."""
    if identity(file) != before:
        raise errors.Refused(
            "image.source.changed",
            f"{name} was changed while it was read.",
            remedy="Stop whatever writes to it, and try again.",
            field=name,
        )


async def convert(
    source: Source,
    target: Path,
    kind: Format,
    *,
    tool: QemuImg,
    accept: Collection[str] = (),
    on_progress: OnProgress | None = None,
) -> Converted:
    """Write the disk in ``source`` to the new file ``target`` as ``kind``, verified and durable on return.

    The source is opened once: what was inspected is what the tool reads, whatever its name means by then.
    Raise Refused with the finding's code if the image is hostile or damaged, Blocked for a decision not in
    ``accept``, Conflict ``image.target.exists``, Invalid ``image.vhd.too-large``, and what `QemuImg`
    raises. Without success there is no target. Cancelling the task stops the tool.
    """
    told = on_progress or _silent
    with opened(source.path) as reader:
        before = identity(reader.descriptor)
        found = await asyncio.to_thread(_inspected, source, reader)
        refuse(found.findings, str(source), accept)
        _require_room(target, kind, found.virtual_size)
        image = _image(source, reader, found.format or Format.RAW)
        # The process id keeps two conversions apart; what a killed one leaves never has the target's name.
        part = _beside(target, f".{target.name}.{os.getpid()}.part")
        driver, options = _TARGETS[kind]
        try:
            await tool.convert(
                image,
                part,
                driver,
                options=options,
                file_size=_file_bound(found.virtual_size),
                on_progress=lambda share: told("convert", share),
            )
            told("verify", 0.0)
            await _verify(tool, image, Image(part, driver), kind)
            require_unchanged(reader.descriptor, before, str(source))
            await asyncio.to_thread(_publish, part, target)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
    told("verify", 1.0)
    return Converted(target, kind, found.virtual_size, _length(target), found)


async def _verify(tool: QemuImg, source: Image, target: Image, kind: Format) -> None:
    """Compare what a guest sees, check the tables of the new image, and inspect it like a foreign one."""
    checked = await tool.check(target)
    same = await tool.compare(source, target)
    found = await asyncio.to_thread(inspected, Source(target.path, kind))
    if checked.corruptions or not same or found.blockers:
        why = ", ".join(each.code for each in found.blockers) or "its content differs"
        raise errors.Broken(
            "image.verify.failed",
            f"The converted image is not the same disk: {why}.",
            remedy="Check the memory and the disks of this machine, and try again.",
        )


def _image(source: Source, reader: FileReader, kind: Format) -> Image:
    return Image(source.path.absolute(), driver_of(kind), window=source.window, descriptor=reader.descriptor)


def _inspected(source: Source, reader: FileReader) -> Inspection:
    return inspect(_windowed(reader, source.window), stated=source.stated)


def _beside(path: Path, name: str) -> Path:
    return path.absolute().with_name(name)


def _windowed(reader: FileReader, window: tuple[int, int] | None) -> Reader:
    return reader if window is None else SliceReader(reader, *window)


def _require_room(target: Path, kind: Format, size: int) -> None:
    if target.exists() or target.is_symlink():
        raise _exists(target)
    if not target.absolute().parent.is_dir():
        raise errors.NotFound(
            "image.target.directory",
            f"There is no directory {target.absolute().parent}.",
            remedy="Make the directory, or name another target.",
            field="target",
        )
    if kind in {Format.VHD, Format.VHD_FIXED} and size > _MAX_VHD:
        raise errors.Invalid(
            "image.vhd.too-large",
            f"A VHD holds at most {size_text(_MAX_VHD)}; the disk has {size_text(size)}.",
            remedy="Choose VHDX.",
            field="format",
        )


def _exists(target: Path) -> errors.Conflict:
    return errors.Conflict(
        "image.target.exists",
        f"{target} exists already.",
        remedy="Name a new file or remove the old one.",
        field="target",
    )


def _file_bound(size: int) -> int:
    """Return more than any format needs for a disk of ``size`` bytes: tables take under 1 %, a VHDX block
    256 MiB."""
    return -(-(size + size // 8 + 512 * MIB) // SECTOR) * SECTOR


def _publish(part: Path, target: Path) -> None:
    """Give the finished file its name, never over another one; the name is durable on return."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError:
        # A file system without hard links; two programs writing the same name is the user's to avoid there.
        part.rename(target)
    descriptor = os.open(target.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _length(path: Path) -> int:
    return path.stat().st_size


def _silent(_step: str, _share: float) -> None:
    return
