"""Verify a written package, whatever holds its files: all steps of docs/certified-image.md but the last."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crossport.certify.disk import InOrder, check_files
from crossport.certify.listing import check_certificate_file, listing
from crossport.certify.refusal import refused
from crossport.certify.sbom import packages_in
from crossport.certify.verify import Verification, Verified
from crossport.model.certified import Manifest, PartKind, SealedDisk

__all__ = ["Described", "PackageFiles", "PackageNames", "verify_package"]


@dataclass(frozen=True, slots=True)
class PackageNames:
    """How the files are called that belong to every certified package, after its descriptor."""

    descriptor: str

    @property
    def seal(self) -> str:
        """The file of the envelope."""
        return f"{self._stem}.seal.json"

    @property
    def listing(self) -> str:
        """The list of digests."""
        return f"{self._stem}.mf"

    @property
    def certificate(self) -> str:
        """The signature of the list."""
        return f"{self._stem}.cert"

    @property
    def _stem(self) -> str:
        return self.descriptor.rpartition(".")[0]

    def all(self, manifest: Manifest) -> list[str]:
        """Return all names of a package, in the order of an archive (DSP0243, 5.3)."""
        parts = [part.name for part in manifest.parts if part.kind is not PartKind.DESCRIPTOR]
        disks = [disk.file for disk in manifest.disks if disk.file]
        return [self.descriptor, self.listing, self.certificate, self.seal, *parts, *disks]


@dataclass(frozen=True, slots=True)
class Described:
    """A disk as the descriptor describes it: its file, what the guest sees of it in bytes."""

    file: str
    size: int


class PackageFiles(Protocol):
    """The files of a package, wherever they lie. Step 1 was made before there is one."""

    @property
    def descriptor(self) -> str:
        """The name of the descriptor."""
        ...

    @property
    def names(self) -> Collection[str]:
        """The names of all files."""
        ...

    @property
    def alone(self) -> bool:
        """Whether whatever is there has to belong to the package: it is an archive."""
        ...

    def content(self, name: str) -> bytes:
        """Return a small file. One longer than any may be is cut off there."""
        ...

    def digest(self, name: str) -> tuple[int, str]:
        """Return the length and the hex SHA-256 of a file."""
        ...

    def described(self) -> "tuple[str, Sequence[Described]]":
        """Return the name of the VM and the disks that the descriptor describes."""
        ...

    def chunks(self, disk: SealedDisk) -> Iterator[bytes | int]:
        """Yield what the guest sees of a disk: its chunks in order. A number is so many chunks of zeros."""
        ...


def verify_package(verification: Verification, files: PackageFiles) -> Verified:
    """Return the verified seal of a package once all of it was verified; raise Refused at the first fault.

    Nothing of the package is read before its seal was verified, and no disk is opened before its file was.
    """
    names = PackageNames(files.descriptor)
    if names.seal not in files.names:
        raise refused("seal.file.absent", field=names.seal, name=names.seal)
    verification.passed(1, f"{files.descriptor} and {names.seal} are there")
    verified = verification.seal(files.content(names.seal))
    manifest = verified.seal.manifest
    _check_names(verified, names, files.names, alone=files.alone)
    small = names.all(manifest)[: 3 + len(manifest.parts)]
    _check_parts(verified, names, {name: files.content(name) for name in small})
    verification.passed(
        11,
        "the files beside the disks are the sealed ones: " + ", ".join(part.kind for part in manifest.parts),
    )
    verification.passed(12, f"{names.listing} says the same, and {names.certificate} signs it")
    _check_descriptor(verified, *files.described())
    verification.passed(13, f"the descriptor describes {manifest.vm} and its disks")
    check_files(manifest, {disk.file: files.digest(disk.file) for disk in manifest.disks if disk.file})
    verification.passed(14, "the files of the disks are the sealed ones")
    for disk in manifest.disks:
        _check_content(verified, disk, files.chunks(disk))
        verification.passed(15, f"disk {disk.id} is what was sealed: {disk.root[:16]}")
    sbom = manifest.part(PartKind.SBOM)
    if sbom is not None:
        verification.packages(packages_in(files.content(sbom.name)))
    return verified


def _check_content(verified: Verified, disk: SealedDisk, chunks: Iterator[bytes | int]) -> None:
    check = InOrder(verified, disk.id)
    for chunk in chunks:
        if isinstance(chunk, int):
            check.add_zeros(chunk)
        else:
            check.add(chunk)
    check.finish()


def _check_names(verified: Verified, names: PackageNames, present: Collection[str], *, alone: bool) -> None:
    """Step 11: raise Refused when a file is missing or, where the package stands ``alone``, too many."""
    manifest = verified.seal.manifest
    descriptor = manifest.part(PartKind.DESCRIPTOR)
    if descriptor is None or descriptor.name != names.descriptor:
        raise refused("seal.file.missing", name=descriptor.name if descriptor else "*.ovf")
    wanted = names.all(manifest)
    for name in wanted:
        if name not in present:
            raise refused("seal.file.missing", field=name, name=name)
    for name in present:
        if alone and name not in wanted:
            raise refused("seal.file.foreign", field=name, name=name)


def _check_parts(verified: Verified, names: PackageNames, content: Mapping[str, bytes]) -> None:
    """Steps 11 and 12: raise Refused unless all small files are the sealed ones."""
    manifest = verified.seal.manifest
    for part in manifest.parts:
        found = content[part.name]
        if len(found) != part.size or hashlib.sha256(found).hexdigest() != part.sha256:
            raise refused("seal.part.altered", field=part.name, name=part.name, kind=part.kind)
    listed = content[names.listing]
    if listed != listing(manifest, names.seal, content[names.seal]):
        raise refused("seal.list.altered", field=names.listing, name=names.listing)
    check_certificate_file(
        verified, names.certificate, content[names.certificate], name=names.listing, listed=listed
    )


def _check_descriptor(verified: Verified, vm: str, disks: Sequence[Described]) -> None:
    """Step 13: raise Refused unless the descriptor describes the sealed VM and its disks in their order."""
    sealed = verified.seal.manifest
    if vm != sealed.vm:
        raise refused("seal.descriptor.disagrees", why=f"it describes {vm!r}, the seal {sealed.vm!r}")
    if len(disks) != len(sealed.disks):
        why = f"it has {len(disks)} disks, the seal {len(sealed.disks)}"
        raise refused("seal.descriptor.disagrees", why=why)
    for found, disk in zip(disks, sealed.disks, strict=True):
        if (found.file, found.size) != (disk.file, disk.size):
            why = f"disk {disk.id} is {found.file} of {found.size} bytes there"
            raise refused("seal.descriptor.disagrees", why=why)
