"""The site's end of looking into a guest: order a worker, and believe what it tells in good form."""

import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from crossport import errors
from crossport.inspector.content import PIECE
from crossport.inspector.job import BATCH, LookingJob
from crossport.inspector.packages import MAX_PACKAGES
from crossport.model import codec
from crossport.model.artifact import DiskRef, Place
from crossport.model.inspection import Guest, GuestPackage
from crossport.spi.inspect import Found, Scanner
from crossport.transfer.host import Worker, WorkerHost
from crossport.transfer.job import failure_from

__all__ = ["LIMIT_S", "SCAN_LIMIT_S", "GuestLook"]

LIMIT_S = 240.0
"""How long the appliance may take to tell what the guest is. It starts within ten seconds without KVM; on a
busy machine it takes far longer."""
SCAN_LIMIT_S = 1800.0
"""How long it may take after that where every file is scanned."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class GuestLook:
    """Implements `crossport.spi.inspect.Inspector` with the workers that ``host`` starts.

    ``ready`` raises what stands in the way of any, ``reach`` what does at one place. ``scanner``, where there
    is one, gets every file of a guest that is scanned.
    """

    def __init__(
        self,
        host: WorkerHost,
        ready: Callable[[], Awaitable[object]],
        limit_s: float = LIMIT_S,
        scanner: Scanner | None = None,
        reach: Callable[[Place], Awaitable[None]] | None = None,
    ) -> None:
        self._host = host
        self._ready = ready
        self._limit_s = limit_s
        self._scanner = scanner
        self._reach = reach

    async def ready(self, place: Place, *, scan: bool = False) -> None:
        """Ask whoever would start the workers, and the scanner."""
        if self._reach is not None:
            await self._reach(place)
        await self._ready()
        if scan:
            await self._able().ready()

    async def look(
        self, disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        """Look with a worker where the disks are."""
        scanner = self._able() if scan else None
        job = LookingJob(disks, self._limit_s, SCAN_LIMIT_S if scan else 0.0)
        async with self._host.started("inspect", disks[0], place, published=disks[1:]) as worker:
            await worker.give(job.line())
            guest = await _guest_of(worker)
            if found is not None:
                await found(guest)
            return replace(guest, scanned=await _scanned(worker, scanner))

    def _able(self) -> Scanner:
        if self._scanner is None:
            raise errors.Refused(
                "image.scan.unset",
                "This site has no clamd, so nobody can scan guests for malware.",
                field="clamd",
                remedy="Set clamd to the socket or to HOST:PORT of a clamd, and start the server again.",
            )
        return self._scanner


async def _guest_of(worker: Worker) -> Guest:
    """Return what the worker tells first: what the guest is."""
    rows = list[Any]()
    while True:
        said = await worker.said()
        match said.get("event"):
            case "progress":
                continue
            case "packages" if len(rows) < MAX_PACKAGES:
                rows += _rows(said)
            case "guest":
                return _guest(said, rows)
            case "failed":
                raise failure_from(said)
            case _:
                raise _nonsense()


async def _scanned(worker: Worker, scanner: Scanner | None) -> int:
    """Scan every file that the worker hands out; return how many."""
    count = 0
    while True:
        said = await worker.said()
        match said.get("event"):
            case "progress":
                continue
            case "file" if scanner is not None:
                await _scan(worker, scanner, said)
                count += 1
            case "failed":
                raise failure_from(said)
            case "done":
                return count
            case _:
                raise _nonsense()


async def _scan(worker: Worker, scanner: Scanner, said: dict[str, Any]) -> None:
    path, size = said.get("path"), said.get("size")
    if not isinstance(path, str) or type(size) is not int or size <= 0:
        raise _nonsense()
    await scanner.scan(_CONTROL.sub("?", path)[:300], size, _pieces(worker, size))


async def _pieces(worker: Worker, size: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, ``size`` and no other number of them."""
    while size:
        said = await worker.said()
        match said.get("event"):
            case "progress":
                continue
            case "failed":
                raise failure_from(said)
            case "piece":
                piece = _piece(said.get("data"))
                size -= len(piece)
            case _:
                raise _nonsense()
        if size < 0 or not 0 < len(piece) <= PIECE:
            raise _nonsense()
        yield piece


def _piece(data: object) -> bytes:
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError as error:
        raise _nonsense() from error


def _rows(said: dict[str, Any]) -> list[Any]:
    rows = said.get("packages")
    if not isinstance(rows, list) or not 0 < len(rows) <= BATCH:  # pyright: ignore[reportUnknownArgumentType]
        raise _nonsense()
    return rows  # pyright: ignore[reportUnknownVariableType]


def _guest(said: dict[str, Any], rows: list[Any]) -> Guest:
    names = GuestPackage.__dataclass_fields__
    try:
        packages = [dict(zip(names, row, strict=True)) for row in rows]
        facts = {name: value for name, value in said.items() if name not in {"event", "count"}}
        guest = codec.from_plain({**facts, "packages": packages}, Guest)
    except (errors.Invalid, TypeError, ValueError) as error:
        raise _nonsense() from error
    if said.get("count") != len(guest.packages):
        raise _nonsense()
    return guest


def _nonsense() -> errors.Broken:
    return errors.Broken(
        "inspect.worker.malformed",
        "The worker that looks into the guest told nothing sound.",
        remedy=errors.SAME_RELEASE,
    )
