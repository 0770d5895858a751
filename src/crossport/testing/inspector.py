"""An inspector that knows what it will find: the promise of the real one without an appliance."""

from dataclasses import replace

from crossport import errors
from crossport.model.artifact import DiskRef, Place
from crossport.model.inspection import Guest
from crossport.spi.inspect import Found

__all__ = ["MemoryInspector"]


class MemoryInspector:
    """Implements `crossport.spi.inspect.Inspector`. It finds ``guest``, or raises ``fault``.

    Who wants a scan gets ``scan_fault``, until that is None. ``looks`` are the disks that it was shown, each
    time.
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.fault: errors.Error | None = None
        self.scan_fault: errors.Error | None = errors.Refused(
            "image.scan.unset", "Nobody here scans guests.", field="clamd", remedy="Set scan_fault to None."
        )
        self.looks: list[tuple[DiskRef, ...]] = []

    async def ready(self, place: Place, *, scan: bool = False) -> None:
        """Raise the fault, if there is one."""
        del place
        for fault in (self.fault, self.scan_fault if scan else None):
            if fault is not None:
                raise fault

    async def look(
        self, disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        """Return the guest; one that is scanned has one file."""
        self.looks.append(disks)
        await self.ready(place, scan=scan)
        if found is not None:
            await found(self.guest)
        return replace(self.guest, scanned=1 if scan else 0)
