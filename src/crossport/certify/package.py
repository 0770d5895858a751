"""Verify a written package, whatever holds its files: all steps of docs/certified-image.md but the last."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crossport.certify.disk import InOrder, check_files, check_in_order
from crossport.certify.envelope import MAX_ENVELOPE
from crossport.certify.listing import check_certificate_file, listing
from crossport.certify.refusal import refused
from crossport.certify.sbom import packages_in
from crossport.certify.verify import Verification, Verified
from crossport.model.certified import Manifest, PartKind, SealedDisk

__all__ = ["Described", "PackageFiles", "PackageNames", "verify_package"]

_READ_ON = (PartKind.DESCRIPTOR, PartKind.SBOM)
_MAX_CERTIFICATE = 1 << 16


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

    def content(self, name: str, most: int) -> bytes:
        """Return a small file; of one longer than ``most`` bytes no more than one byte more."""
        ...

    def digest(self, name: str) -> tuple[int, str]:
        """Return the length and the hex SHA-256 of a file."""
        ...

    def described(self, descriptor: bytes) -> "tuple[str, Sequence[Described]]":
        """Return the name of the VM and the disks that the descriptor describes, whose content this is."""
        ...

    def chunks(self, disk: SealedDisk) -> Iterator[bytes | int]:
        """Yield what the guest sees of a disk: its chunks in order. A number is so many chunks of zeros."""
        ...


def verify_package(verification: Verification, files: PackageFiles) -> Verified:
    """Return the verified seal of a package once all of it was verified; raise Refused at the first fault.

    Nothing of the package is read before its seal was verified, and no disk is opened before its file was.
    What was found to be sealed is what is used: no small file is read twice.
    """
    names = PackageNames(files.descriptor)
    if names.seal not in files.names:
        raise refused("seal.file.absent", field=names.seal, name=names.seal)
    verification.passed(1, f"{files.descriptor} and {names.seal} are there")
    envelope = files.content(names.seal, MAX_ENVELOPE)
    verified = verification.seal(envelope)
    manifest = verified.seal.manifest
    _check_names(verified, names, files.names, alone=files.alone)
    used = dict(_sealed_parts(manifest, files))
    _check_list(verified, names, files, envelope)
    verification.passed(
        11,
        "the files beside the disks are the sealed ones: " + ", ".join(part.kind for part in manifest.parts),
    )
    verification.passed(12, f"{names.listing} says the same, and {names.certificate} signs it")
    _check_descriptor(verified, *files.described(used[PartKind.DESCRIPTOR]))
    verification.passed(13, f"the descriptor describes {manifest.vm} and its disks")
    check_files(manifest, {disk.file: files.digest(disk.file) for disk in manifest.disks if disk.file})
    verification.passed(14, "the files of the disks are the sealed ones")
    for disk in manifest.disks:
        check_in_order(InOrder(disk), files.chunks(disk))
        verification.passed(15, f"disk {disk.id} is what was sealed: {disk.root[:16]}")
    if PartKind.SBOM in used:
        verification.packages(packages_in(used[PartKind.SBOM]))
    return verified


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


def _sealed_parts(manifest: Manifest, files: PackageFiles) -> Iterator[tuple[PartKind, bytes]]:
    """Step 11: yield the content of what is read on; raise Refused unless all parts are the sealed ones."""
    for part in manifest.parts:
        found = files.content(part.name, part.size)
        if len(found) != part.size or hashlib.sha256(found).hexdigest() != part.sha256:
            raise refused("seal.part.altered", field=part.name, name=part.name, kind=part.kind)
        if part.kind in _READ_ON:
            yield part.kind, found


def _check_list(verified: Verified, names: PackageNames, files: PackageFiles, envelope: bytes) -> None:
    """Step 12: raise Refused unless list and certificate say what the seal says."""
    listed = listing(verified.seal.manifest, names.seal, envelope)
    if files.content(names.listing, len(listed)) != listed:
        raise refused("seal.list.altered", field=names.listing, name=names.listing)
    content = files.content(names.certificate, _MAX_CERTIFICATE)
    check_certificate_file(verified, names.certificate, content, name=names.listing, listed=listed)


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
