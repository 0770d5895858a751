"""Which files and sockets of its machine a gateway opens, whatever its site says: disks, and no keys."""

from collections.abc import Iterable
from pathlib import Path

from crossport import errors
from crossport.hypervisor import nbd_wire
from crossport.model.artifact import DiskRef
from crossport.model.locator import file_of

__all__ = ["Reach"]


class Reach:
    """What lies below the directories ``disks``, or anywhere where none is named; never below ``own``.

    ``namespace`` is the network namespace in which disks are read and written.
    """

    def __init__(self, own: Path | None = None, disks: Iterable[Path] = (), namespace: str = "") -> None:
        self.namespace = namespace
        self._own = own.resolve() if own else None
        self._disks = tuple(path.resolve() for path in disks)

    def check(self, ref: DiskRef) -> None:
        """Raise Refused (``gateway.disk.outside``) for a disk that this gateway does not open.

        Links are followed. A disk that is reached over the network is another matter.
        """
        named = _named(ref)
        if not named:
            return
        path = Path(named).resolve()
        inside = not self._disks or any(path.is_relative_to(root) for root in self._disks)
        if not inside or (self._own is not None and path.is_relative_to(self._own)):
            raise errors.Refused(
                "gateway.disk.outside",
                f"This gateway does not open {path}.",
                remedy="If it should, start it with --disks and the directory in which the cloud keeps them.",
            )


def _named(ref: DiskRef) -> str:
    if ref.kind == "file":
        return file_of(ref.locator)[0]
    return nbd_wire.address_of(ref.locator).path if ref.kind == "nbd" else ""
