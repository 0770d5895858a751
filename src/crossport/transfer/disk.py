"""Opening what a DiskRef names, by its kind.

Only a worker or a gateway opens a DiskRef, never the control plane.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockReader, BlockWriter
from crossport.transfer.file_disk import FileDisk

if TYPE_CHECKING:
    from crossport.hypervisor.nbd import NbdDisk

__all__ = ["FileOpener", "NbdOpener", "Opener", "open_reader", "open_writer"]


class Opener(Protocol):
    """Whoever opens the disks of one kind; ``testing.memory_disk.MemoryDisks`` is one, too."""

    def open_reader(self, ref: DiskRef) -> BlockReader:
        """Open for reading."""
        ...

    def open_writer(self, ref: DiskRef) -> BlockWriter:
        """Open for writing."""
        ...


class FileOpener:
    """Opens plain files and block devices. What is read may be ``unchanging``, as the source of a copy is."""

    def __init__(self, *, unchanging: bool = False) -> None:
        self._unchanging = unchanging

    def open_reader(self, ref: DiskRef) -> BlockReader:
        """Open for reading."""
        return FileDisk(ref, writable=False, unchanging=self._unchanging)

    def open_writer(self, ref: DiskRef) -> BlockWriter:
        """Open for writing."""
        return FileDisk(ref, writable=True)


class NbdOpener:
    """Opens NBD exports. A server that says nothing for ``timeout_s`` is given up.

    What speaks NBD is imported when it is needed: most workers open one disk of one kind.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s

    def open_reader(self, ref: DiskRef) -> BlockReader:
        """Open for reading."""
        return self._opened(ref, writable=False)

    def open_writer(self, ref: DiskRef) -> BlockWriter:
        """Open for writing."""
        return self._opened(ref, writable=True)

    def _opened(self, ref: DiskRef, *, writable: bool) -> "NbdDisk":
        from crossport.hypervisor import nbd  # noqa: PLC0415

        return nbd.open_disk(ref.locator, writable=writable, timeout_s=self._timeout_s)


def open_reader(openers: Mapping[str, Opener], ref: DiskRef) -> BlockReader:
    """Open ``ref`` for reading; raise Invalid for an unknown kind, Broken if less is there than it says."""
    reader = _opener(openers, ref).open_reader(ref)
    if reader.size < ref.size:
        reader.close()
        raise errors.Broken(
            "transfer.source.short",
            f"The source holds {reader.size} bytes, not {ref.size} as was said.",
            remedy="Begin a new run: the disk changed its size after the run had looked at it.",
        )
    return reader


def open_writer(openers: Mapping[str, Opener], ref: DiskRef) -> BlockWriter:
    """Open ``ref`` for writing; raise Invalid for an unknown kind."""
    return _opener(openers, ref).open_writer(ref)


def _opener(openers: Mapping[str, Opener], ref: DiskRef) -> Opener:
    if ref.secret_ref:
        raise errors.Invalid(
            "transfer.disk.secret",
            f"A disk of kind {ref.kind} takes no secret.",
            remedy="Look at how the cloud describes its disk: its driver is at fault.",
        )
    if ref.kind not in openers:
        raise errors.Invalid(
            "transfer.disk.kind",
            f"Disks of kind {ref.kind!r} cannot be opened here.",
            remedy=f"Known kinds: {', '.join(sorted(openers))}.",
            field="ref.kind",
        )
    return openers[ref.kind]
