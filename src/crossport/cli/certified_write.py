"""Write a certified image from a package: inspect it, take the digests of what the guest sees, seal."""

import asyncio
import hashlib
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from crossport import errors, merkle
from crossport.certify.archive import END, header, padding
from crossport.certify.listing import certificate_file, listing, own_certificate
from crossport.certify.package import PackageNames
from crossport.certify.sbom import packages_in
from crossport.certify.seal import sealed
from crossport.cli.certified_read import guest_chunks
from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.findings import refuse
from crossport.convert.formats import OnProgress, Source, convert, identity, inspected, require_unchanged
from crossport.convert.inspection import Format
from crossport.convert.ovf_words import STREAM_OPTIMIZED
from crossport.convert.ovf_write import descriptor
from crossport.convert.package import Package, read_package
from crossport.convert.placing import placed
from crossport.convert.reader import FileReader, opened
from crossport.hypervisor.qemu_img import QemuImg
from crossport.model.certified import MAX_PART, Check, Manifest, Outcome, Part, PartKind, Seal, SealedDisk
from crossport.spi.signer import Signer
from crossport.units import MIB, size_text

__all__ = ["Order", "certify"]

INSPECTION = "image.inspection"
"""The check that every image here goes through: it was read by Crossport's own inspector."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sealed for whom. ``seal`` lacks its manifest's contents, which the package gives.

    ``more`` are files by kind; ``version`` is of OVF; ``certificate`` is DER, None for the key's own.
    """

    signer: Signer
    seal: Seal
    more: dict[PartKind, Path]
    version: int = 2
    certificate: bytes | None = None


def certify(
    source: Path, target: Path, order: Order, *, told: OnProgress, accept: Collection[str] = ()
) -> Seal:
    """Write the certified image ``target`` (.ova or .ovf) from the package ``source``; return its seal.

    Nothing is overwritten, and without success nothing is left. Raise Refused for a hostile package, Blocked
    for a decision not in ``accept``, and what the signer raises.
    """
    _require_new(target)
    names = PackageNames(f"{target.stem}.ovf")
    with ExitStack() as held:
        before = identity(source)
        package = read_package(source, told, held)
        refuse(package.findings, source.name, accept)
        name = held.enter_context(
            tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent)
        )
        work = _Work(Path(name), target.stem, told, accept)
        disks, described = work.disks(package)
        parts, more = work.parts(order.more)
        appliance = replace(package.appliance, name=_vm(package.appliance, target), disks=described)
        text = descriptor(appliance, version=order.version, more=[names.seal, *more])
        seal = work.sealed(order, names, text, (appliance.name, parts, disks))
        require_unchanged(source, before, source.name)
        files = [work.path / each for each in names.all(seal.manifest)]
        if target.suffix.lower() == ".ova":
            archive = work.path / "archive"
            _archive(files, archive)
            placed([archive], [target])
        else:
            # The descriptor comes last: who finds it finds the rest.
            files = [*files[1:], files[0]]
            placed(files, [target.with_name(each.name) for each in files])
    return seal


@dataclass(frozen=True, slots=True)
class _Work:
    """The directory in which a package comes to be; its files are named after ``stem``."""

    path: Path
    stem: str
    told: OnProgress
    accept: Collection[str]

    def disks(self, package: Package) -> tuple[tuple[SealedDisk, ...], tuple[ApplianceDisk, ...]]:
        """Write every disk as streamOptimized VMDK, and return it as sealed and as described."""
        sources = {disk.id: image for disk, image, _ in package.disks}
        made: list[SealedDisk] = []
        described: list[ApplianceDisk] = []
        for number, disk in enumerate(package.appliance.disks, 1):
            if disk.id not in sources:
                raise errors.Invalid(
                    "image.seal.empty-disk",
                    f"Disk {disk.id} of the package has no file.",
                    field="source",
                    remedy="Export the package with a file for every disk.",
                )
            one, length = self._disk(f"disk{number}", sources[disk.id])
            made.append(one)
            described.append(
                replace(
                    disk,
                    id=one.id,
                    size=one.size,
                    file=one.file or "",
                    file_size=length,
                    format=STREAM_OPTIMIZED,
                )
            )
        return tuple(made), tuple(described)

    def parts(self, more: dict[PartKind, Path]) -> tuple[tuple[Part, ...], list[str]]:
        """Copy the other files into the package; return their parts and names."""
        parts: list[Part] = []
        for kind, path in more.items():
            content = _content(path)
            if kind is PartKind.SBOM:
                packages_in(content)
            name = f"{self.stem}.{kind}"
            (self.path / name).write_bytes(content)
            parts.append(_part(kind, name, content))
        return tuple(parts), [part.name for part in parts]

    def sealed(
        self,
        order: Order,
        names: PackageNames,
        text: bytes,
        found: tuple[str, tuple[Part, ...], tuple[SealedDisk, ...]],
    ) -> Seal:
        """Write descriptor, seal, list and certificate; return the seal."""
        vm, parts, disks = found
        signer, draft = order.signer, order.seal
        certificate = order.certificate or own_certificate(
            signer, site=draft.site, made=draft.made, valid_until=draft.valid_until
        )
        manifest = Manifest(
            vm=vm,
            parts=(_part(PartKind.DESCRIPTOR, names.descriptor, text), *parts),
            disks=disks,
            checks=(Check(name=INSPECTION, outcome=Outcome.PASSED), *draft.manifest.checks),
            certificate=hashlib.sha256(certificate).hexdigest(),
        )
        seal = replace(draft, manifest=manifest)
        envelope = sealed(seal, signer)
        listed = listing(manifest, names.seal, envelope)
        cert = certificate_file(names.listing, listed, signer, certificate)
        for name, content in (
            (names.descriptor, text),
            (names.seal, envelope),
            (names.listing, listed),
            (names.certificate, cert),
        ):
            (self.path / name).write_bytes(content)
        return seal

    def _disk(self, name: str, source: Source) -> tuple[SealedDisk, int]:
        path = self.path / f"{self.stem}-{name}.vmdk"
        tree = merkle.Tree()
        with opened(source.path) as reader:
            before = identity(reader.descriptor)
            for chunk in guest_chunks(source, merkle.CHUNK, self.told, self.accept):
                if isinstance(chunk, int):
                    tree.add_zeros(chunk)
                else:
                    tree.add(merkle.leaf(chunk))
            size = self._written(source, reader, path)
            require_unchanged(reader.descriptor, before, str(source))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        length = path.stat().st_size
        disk = SealedDisk(
            id=name,
            size=size,
            chunk_size=merkle.CHUNK,
            root=tree.root().hex(),
            file=path.name,
            format=Format.VMDK_STREAM.value,
            file_size=length,
            sha256=digest,
        )
        return disk, length

    def _written(self, source: Source, reader: FileReader, path: Path) -> int:
        """Write the disk as streamOptimized VMDK: as it lies where it is one already. Return its size."""
        found = inspected(source)
        if found.format is not Format.VMDK_STREAM:
            making = convert(
                source, path, Format.VMDK_STREAM, tool=QemuImg(), accept=self.accept, on_progress=self.told
            )
            return asyncio.run(making).size
        start, size = source.window or (0, reader.size)
        with path.open("xb") as out:
            for at in range(start, start + size, MIB):
                out.write(reader.read_at(at, min(MIB, start + size - at)))
        return found.virtual_size


def _vm(appliance: Appliance, target: Path) -> str:
    return appliance.name or target.stem


def _part(kind: PartKind, name: str, content: bytes) -> Part:
    return Part(kind=kind, name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PART + 1)
    except OSError as error:
        raise errors.NotFound(
            "image.seal.part",
            f"{path} cannot be read: {error.strerror}.",
            field=path.name,
            remedy="Name a file that this user can read.",
        ) from error
    if len(content) > MAX_PART:
        raise errors.Invalid(
            "image.seal.part-large",
            f"{path} is larger than {size_text(MAX_PART)}.",
            field=path.name,
            remedy="Leave it out, or make it smaller.",
        )
    return content


def _archive(files: Sequence[Path], archive: Path) -> None:
    with archive.open("xb") as out, ExitStack() as held:
        for path in files:
            size = path.stat().st_size
            out.write(header(path.name, size))
            file = held.enter_context(path.open("rb"))
            while piece := file.read(MIB):
                out.write(piece)
            out.write(padding(size))
        out.write(END)


def _require_new(target: Path) -> None:
    if target.suffix.lower() not in {".ova", ".ovf"}:
        raise errors.Invalid(
            "package.kind.unknown",
            f"{target.name} ends neither in .ova nor in .ovf.",
            remedy="End the target's name in .ova for one file, in .ovf for several.",
            field="target",
        )
    if target.exists() or target.is_symlink() or not target.absolute().parent.is_dir():
        raise errors.Conflict(
            "image.target.exists",
            f"{target} exists already, or its directory does not.",
            remedy="Name a new file in a directory that is there.",
            field="target",
        )
