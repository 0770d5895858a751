"""Looking into a guest whose disks lie at a cloud."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from crossport.model.artifact import DiskRef, Place
from crossport.model.inspection import Guest

__all__ = ["Found", "Inspector", "Scanner"]

Found = Callable[[Guest], Awaitable[None]]
"""Hears what a guest is while its files are still to be scanned."""


class Inspector(Protocol):
    """Whoever looks into guests; ``testing.inspector.MemoryInspector`` is one, too."""

    async def ready(self, place: Place, *, scan: bool = False) -> None:
        """Raise Refused (``inspect.appliance.missing``, ``inspect.gateway.unable``): nobody can look there.

        With ``scan`` raise ``image.scan.…``, or Unavailable, when nobody could scan guests for malware. It
        takes a few seconds at most, whoever does not answer.
        """
        ...

    async def look(
        self, disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        """Return what the disks, in the guest's order, say of the guest. They are only read, at ``place``.

        With ``scan`` every file was scanned when it returns; ``found`` hears beforehand, once, what the guest
        is, so that it is known however the scan ends. May be called again. Raise Refused
        (``inspect.…``) for a guest that cannot be read within bounds, ``image.malware`` and ``image.scan.…``
        for one that is not clean or not scanned to the last file, and Unavailable when nobody can look now.
        """
        ...


class Scanner(Protocol):
    """Whoever knows malware."""

    async def ready(self) -> None:
        """Raise Unavailable (``image.scan.away``) when it cannot be asked within a few seconds.

        Raise Refused (``image.scan.limit``) when it takes less than it is given. What was answered a moment
        ago is answered again.
        """
        ...

    async def scan(self, path: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Return when the file is clean: ``size`` bytes, called ``path`` in what is raised.

        Raise Refused (``image.malware``, and ``image.scan.…`` for one that it did not scan to the end), and
        Unavailable when it cannot be asked.
        """
        ...
