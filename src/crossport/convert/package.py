"""What the commands ``crossport image inspect|convert|import|export`` do, for images and for packages (OVF,
OVA).

Importing reads a package where it lies: archive, manifest, descriptor and every disk are checked before any
tool sees a byte, and everything that stands against the package is told at once. Exporting writes
streamOptimized VMDKs, a descriptor and a manifest with SHA-256. Nothing is overwritten, and without success
nothing is left behind.
"""

import asyncio
import hashlib
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from crossport import errors
from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.findings import finding, refuse
from crossport.convert.formats import (
    Converted,
    OnProgress,
    Source,
    convert,
    identity,
    inspected,
    require_unchanged,
)
from crossport.convert.inspection import Format, Inspection
from crossport.convert.ova import Member, archive_members, directory_members, manifest_findings
from crossport.convert.ovf_read import MAX_DESCRIPTOR, Description, plain_name, read_descriptor
from crossport.convert.ovf_words import FORMATS, STREAM_OPTIMIZED
from crossport.convert.ovf_write import descriptor
from crossport.convert.placing import placed
from crossport.convert.reader import SliceReader, Truncated, held, opened
from crossport.hypervisor.qemu_img import QemuImg
from crossport.model.finding import Finding

__all__ = [
    "Imported",
    "Package",
    "convert_file",
    "export_package",
    "import_package",
    "inspect_file",
    "inspect_package",
    "read_package",
]

_USTAR_LIMIT = 8 << 30
_SUFFIXES = {
    Format.VMDK: "vmdk",
    Format.VMDK_STREAM: "vmdk",
    Format.VHD_FIXED: "vhd",
}


@dataclass(frozen=True, slots=True)
class Package:
    """A package as it lies: what it describes, an inspection of each disk that has a file, and all
    findings."""

    appliance: Appliance
    version: int
    disks: tuple[tuple[ApplianceDisk, Source, Inspection], ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came out of a package: the description, with ``file`` naming the new images, in ``directory``."""

    appliance: Appliance
    disks: tuple[Path, ...]
    findings: tuple[Finding, ...]


def inspect_file(path: Path, *, stated: Format | None = None) -> Inspection:
    """Inspect one disk image; see `crossport.convert.inspect.inspect`. Raise NotFound or Invalid for no
    file."""
    return inspected(Source(path, stated))


async def convert_file(
    source: Path,
    target: Path,
    kind: Format,
    *,
    stated: Format | None = None,
    accept: Collection[str] = (),
    on_progress: OnProgress | None = None,
) -> Converted:
    """Convert one image; see `crossport.convert.formats.convert` for what it promises and raises."""
    return await convert(
        Source(source, stated), target, kind, tool=QemuImg(), accept=accept, on_progress=on_progress
    )


def inspect_package(path: Path, on_progress: OnProgress | None = None) -> Package:
    """Read an OVA, or an OVF with the files beside it, and everything that stands against it. Writes nothing.

    Raise Invalid ``package.kind.unknown`` if ``path`` ends neither in .ova nor in .ovf.
    """
    with ExitStack() as files:
        return read_package(path, on_progress or _silent, files)


def read_package(path: Path, told: OnProgress, files: ExitStack) -> Package:
    """Read a package like `inspect_package`. Its files stay open in ``files``: the disks are what is open,
    whatever has their names by then."""
    members, findings, name = _members(path, files)
    if not name:
        return Package(Appliance(""), 0, (), tuple(findings))
    described = _description(members[name])
    findings += described.findings
    needed = {name, *_needed(members, described.appliance, path)}
    if path.suffix.lower() == ".ovf":
        members |= {each: _held(members[each], files) for each in needed}
    findings += manifest_findings(members, name, needed, lambda share: told("manifest", share))
    disks: list[tuple[ApplianceDisk, Source, Inspection]] = []
    for disk in described.appliance.disks:
        if not disk.file:
            continue
        if disk.file not in members:
            findings.append(finding("ova.member.missing", name=disk.file))
            continue
        source = _source(members[disk.file], disk)
        image = inspected(source)
        # The findings of an image say "image"; here there are several.
        findings += [replace(each, subject=f"disk {disk.file}") for each in image.findings]
        if not image.blockers and image.virtual_size != disk.size:
            stated, found = disk.size, image.virtual_size
            findings.append(finding("ovf.disk.size", name=disk.file, stated=stated, found=found))
        disks.append((disk, source, image))
    return Package(described.appliance, described.version, tuple(disks), tuple(findings))


async def import_package(
    source: Path,
    directory: Path,
    *,
    kind: Format = Format.QCOW2,
    accept: Collection[str] = (),
    on_progress: OnProgress | None = None,
    tool: QemuImg | None = None,
) -> Imported:
    """Bring a package (.ova, .ovf) or a single image into ``directory`` as images of ``kind``.

    ``directory`` is made if it is missing. The images are named after the appliance and the disk's number,
    never after what the package says. Raise Refused with the first finding's code (text and remedies of
    all), Blocked for decisions not in ``accept`` (such as ``ova.manifest.missing``), and what `convert`
    raises.
    """
    told = on_progress or _silent
    made: list[Path] = []
    disks: list[ApplianceDisk] = []
    with ExitStack() as files:
        before = await asyncio.to_thread(identity, source)
        package = await asyncio.to_thread(_package_or_image, source, told, files)
        refuse(package.findings, source.name, accept)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        sources = {disk.id: image for disk, image, _ in package.disks}
        undo = files.enter_context(ExitStack())
        for number, disk in enumerate(package.appliance.disks, 1):
            path = directory / f"{_stem(source)}-disk{number}.{_SUFFIXES.get(kind, str(kind))}"
            told(f"disk {number} of {len(package.appliance.disks)}", 0.0)
            if disk.id not in sources:
                disks.append(disk)
                continue
            done = await convert(
                sources[disk.id], path, kind, tool=tool or QemuImg(), accept=accept, on_progress=on_progress
            )
            undo.callback(path.unlink, missing_ok=True)
            made.append(path)
            disks.append(replace(disk, file=path.name, file_size=done.file_size, format=str(kind)))
        await asyncio.to_thread(require_unchanged, source, before, source.name)
        undo.pop_all()
    return Imported(replace(package.appliance, disks=tuple(disks)), tuple(made), package.findings)


async def export_package(
    appliance: Appliance,
    images: Sequence[Source],
    target: Path,
    *,
    version: int = 1,
    on_progress: OnProgress | None = None,
    tool: QemuImg | None = None,
) -> Path:
    """Write ``appliance`` and its disks as ``target``: one file for .ova, for .ovf a descriptor with files
    beside it.

    ``images`` are the disks' images, one for each disk of ``appliance``, in its order. Raise Invalid
    ``package.kind.unknown``, ``package.disks.count`` or ``package.name.unusable``, Conflict
    ``image.target.exists``, and what `convert` raises.
    """
    _require_exportable(appliance, images, target)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        work = Path(name).absolute()  # noqa: ASYNC240 - asks for the working directory only
        disks: list[ApplianceDisk] = []
        for number, (disk, image) in enumerate(zip(appliance.disks, images, strict=True), 1):
            path = work / f"{target.stem}-disk{number}.vmdk"
            done = await convert(
                image, path, Format.VMDK_STREAM, tool=tool or QemuImg(), on_progress=on_progress
            )
            disks.append(
                replace(
                    disk, size=done.size, file=path.name, file_size=done.file_size, format=STREAM_OPTIMIZED
                )
            )
        text = descriptor(replace(appliance, disks=tuple(disks)), version=version)
        files = await asyncio.to_thread(_described_files, work, target.stem, text, disks)
        await asyncio.to_thread(_published, files, work, target)
    return target


def _package_or_image(source: Path, told: OnProgress, files: ExitStack) -> Package:
    if source.suffix.lower() in {".ova", ".ovf"}:
        return read_package(source, told, files)
    found = inspect_file(source)
    disk = ApplianceDisk("disk1", found.virtual_size, source.name)
    return Package(
        Appliance(_stem(source), disks=(disk,)), 0, ((disk, Source(source), found),), found.findings
    )


def _members(path: Path, files: ExitStack) -> tuple[dict[str, Member], list[Finding], str]:
    """Return the files of a package, what stands against it, and its descriptor's name if that can be
    read."""
    reader = files.enter_context(opened(path))
    match path.suffix.lower():
        case ".ova":
            members, findings = archive_members(held(reader), reader)
            names = [name for name in members if name.lower().endswith(".ovf")]
        case ".ovf":
            members, findings, names = directory_members(path), [], [path.name]
        case _:
            raise errors.Invalid(
                "package.kind.unknown",
                f"{path.name} ends neither in .ova nor in .ovf.",
                remedy="Name a package, or use image convert for a single disk.",
                field="source",
            )
    if len(names) != 1 or names[0] not in members:
        return members, [*findings, finding("ova.descriptor.count", count=len(names))], ""
    return members, findings, names[0]


def _held(member: Member, files: ExitStack) -> Member:
    return replace(member, path=held(files.enter_context(opened(member.path))))


def _description(member: Member) -> Description:
    try:
        with opened(member.path) as reader:
            part = SliceReader(reader, member.start, member.size)
            # One byte more than is allowed is enough for read_descriptor to refuse it.
            return read_descriptor(part.read_at(0, min(member.size, MAX_DESCRIPTOR + 1)))
    except Truncated as error:
        missing = finding("ova.truncated", name=error.what)
        return Description(Appliance(""), 0, [missing])


def _needed(members: dict[str, Member], appliance: Appliance, path: Path) -> list[str]:
    """Return what the manifest must name: all of an archive; of a directory, what belongs to the package."""
    if path.suffix.lower() == ".ova":
        return list(members)
    own = {disk.file for disk in appliance.disks} | {path.stem + ".mf", path.stem + ".cert"}
    return [name for name in members if name in own]


def _source(member: Member, disk: ApplianceDisk) -> Source:
    """Say what the descriptor states about a disk's file; the content has to agree."""
    uri = disk.format.lower()
    stated = next((Format(kind) for word, kind in FORMATS.items() if word in uri), None)
    return Source(member.path, stated, member.window(), member.name)


def _stem(path: Path) -> str:
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in path.stem)
    return stem.strip(".-") or "appliance"


def _require_exportable(appliance: Appliance, images: Sequence[Source], target: Path) -> None:
    if target.suffix.lower() not in {".ova", ".ovf"}:
        raise errors.Invalid(
            "package.kind.unknown",
            f"{target.name} ends neither in .ova nor in .ovf.",
            remedy="End the target's name in .ova for one file, in .ovf for several.",
            field="target",
        )
    if len(images) != len(appliance.disks):
        text = f"{len(images)} images for {len(appliance.disks)} disks."
        raise errors.Invalid(
            "package.disks.count", text, remedy="Name one image for each disk.", field="images"
        )
    if not plain_name(target.name):
        raise errors.Invalid(
            "package.name.unusable",
            f"{target.name!r} cannot be the name of a package.",
            remedy="Use letters, digits, dots and dashes.",
            field="target",
        )
    if target.exists() or target.is_symlink():
        raise errors.Conflict(
            "image.target.exists",
            f"{target} exists already.",
            remedy="Name a new file or remove the old one.",
            field="target",
        )


def _described_files(work: Path, stem: str, text: bytes, disks: Sequence[ApplianceDisk]) -> list[Path]:
    """Write descriptor and manifest; return all files in the order that an archive needs (DSP0243, 6.1)."""
    ovf, manifest = work / f"{stem}.ovf", work / f"{stem}.mf"
    ovf.write_bytes(text)
    files = [work / disk.file for disk in disks]
    lines = [f"SHA256({path.name})= {_digest(path)}\n" for path in (ovf, *files)]
    manifest.write_text("".join(lines))
    return [ovf, manifest, *files]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _published(files: Sequence[Path], work: Path, target: Path) -> None:
    if target.suffix.lower() == ".ova":
        archive = work / "archive"
        _archived(files, archive)
        files, names = [archive], [target]
    else:
        # The descriptor comes last: who finds it finds the rest.
        files = [*files[1:], files[0]]
        names = [target.with_name(path.name) for path in files[:-1]] + [target]
    placed(files, names)


def _archived(files: Sequence[Path], archive: Path) -> None:
    """Write an archive that tells nothing of this machine: no owners, no times.

    The standard wants ustar, which ends at 8 GiB a file; beyond it the size is written as GNU tar and
    VMware do.
    """
    large = any(path.stat().st_size >= _USTAR_LIMIT for path in files)
    form = tarfile.GNU_FORMAT if large else tarfile.USTAR_FORMAT
    with tarfile.open(archive, "w", format=form) as tar:
        for path in files:
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)


def _silent(_step: str, _share: float) -> None:
    return
