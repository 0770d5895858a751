"""A worker process: started where its gateway sits, confined to one disk and one connection.

It runs in the network namespace of its place, as an unprivileged user, and sees its Python, this package and
the one file or socket its disk is: nothing else of the machine. It ends when its starter does.
"""

import asyncio
import contextlib
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.hypervisor import confine, nbd_wire
from crossport.hypervisor.file_access import lent
from crossport.hypervisor.own_program import own_program
from crossport.model.artifact import DiskRef, Place
from crossport.model.locator import file_of
from crossport.transfer import credential
from crossport.transfer.host import Journal, Way, Worker
from crossport.transfer.http_connection import BUNDLES
from crossport.transfer.job import MAX_LINE
from crossport.transfer.journals import Journals
from crossport.transfer.stock_access import Access
from crossport.transfer.stocks import Stocks

__all__ = ["Inspecting", "LocalHost", "LocalPipe", "Tool", "piped", "tooled"]

# A worker tells its progress four times a second; one that says nothing for this long hangs.
SILENT_S = 60.0
_STDERR_KEPT = 4096
_END_S = 30.0
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*|/[A-Za-z0-9_./-]+")
# Chunks are allocated and let go of all the time: without this each comes from the kernel, page by page, and
# goes back there, which takes a receiver a twentieth of its processor time.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(8 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
_LIMITS = confine.Limits(address_space=4 << 30, cpu_s=None, open_files=64)


class LocalPipe:
    """The standard input and output of a worker of this machine."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, certificate: str) -> None:
        self.name = name
        self.process = process
        self.certificate = certificate
        self._stderr = bytearray()
        self._draining = asyncio.create_task(self._drain())

    async def give(self, line: bytes) -> None:
        """Hand the worker a line; what it said last tells why when it is gone."""
        stdin = self.process.stdin
        if stdin is None:
            raise RuntimeError("a worker is started with a pipe")
        with contextlib.suppress(ConnectionError):
            stdin.write(line)
            await stdin.drain()

    async def end(self) -> None:
        """Kill it with everything in its process namespace, and wait for its end.

        Whoever is cancelled meanwhile waits, too: what is lent to the worker is taken back behind this.
        """
        ending = asyncio.ensure_future(self._ended())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending})
            raise

    async def _ended(self) -> None:
        if self.process.returncode is None:
            confine.kill(self.process.pid)
        if self.process.stdin is not None:
            self.process.stdin.close()
        # bubblewrap dies first, the kernel then kills what is in its namespace: the pipes end with the last.
        try:
            async with asyncio.timeout(_END_S):
                while self.process.stdout is not None and await self.process.stdout.read(MAX_LINE):
                    pass
                await self._draining
                await self.process.wait()
        except TimeoutError as error:
            raise errors.Broken(
                "transfer.worker.immortal",
                f"{self.name} was killed, but does not end.",
                remedy="Its storage hangs, most likely: look at the kernel's log.",
            ) from error

    async def said(self) -> dict[str, Any]:
        """Return what the worker says next; raise Unavailable when it died or hangs, Broken for no event."""
        stdout = self.process.stdout
        if stdout is None:
            raise RuntimeError("a worker is started with a pipe")
        try:
            async with asyncio.timeout(SILENT_S):
                line = await stdout.readline()
            said = json.loads(line) if line else None
        except TimeoutError as error:
            raise errors.Unavailable(
                "transfer.worker.silent", f"{self.name} hangs.", remedy=errors.TRIED_AGAIN
            ) from error
        except (ValueError, RecursionError) as error:
            raise errors.Broken(
                "transfer.worker.malformed", f"{self.name} did not speak JSON.", remedy=errors.SAME_RELEASE
            ) from error
        if said is None:
            raise await self._died()
        if not isinstance(said, dict):
            raise errors.Broken(
                "transfer.worker.malformed",
                f"{self.name} did not speak of events.",
                remedy=errors.SAME_RELEASE,
            )
        return said  # pyright: ignore[reportUnknownVariableType]

    async def _died(self) -> errors.Unavailable:
        status = await self.process.wait()
        await asyncio.gather(self._draining, return_exceptions=True)
        last = self._stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        return errors.Unavailable(
            "transfer.worker.died",
            f"{self.name} ended with status {status}" + (f": {last}" if last else "."),
            remedy="Try again: the copy goes on with what had arrived.",
        )

    async def _drain(self) -> None:
        stderr = self.process.stderr
        while stderr is not None and (piece := await stderr.read(4096)):
            self._stderr.extend(piece)
            del self._stderr[:-_STDERR_KEPT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A worker that copies nothing: its module with arguments, and what it sees beside the disks.

    It has no network, and ``groups`` for the devices.
    """

    module: str
    arguments: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    groups: tuple[int, ...] = ()


Inspecting = Callable[[], Awaitable[Tool]]
"""Returns what inspects guests here; raises what stands in its way."""


async def _nothing_inspects() -> Tool:
    raise errors.Refused(
        "inspect.appliance.missing",
        "Nothing here can look into guests.",
        remedy="Let the site look, where the disks can be read: it has what crossport inspector build made.",
    )


class LocalHost:
    """Starts workers on this machine: a `crossport.transfer.host.WorkerHost`."""

    def __init__(
        self,
        journals: Path | None = None,
        stocks: Stocks | None = None,
        inspecting: Inspecting = _nothing_inspects,
    ) -> None:
        """Keep journals in the directory ``journals``; without one nothing is gone on with.

        Content that passes through is kept in ``stocks``, if there are any. Guests are looked into by the
        tool that ``inspecting`` returns.
        """
        self._journals = Journals(journals)
        self._stocks = stocks or Stocks(None, 0)
        self._inspecting = inspecting

    @contextlib.asynccontextmanager
    async def started(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        """Start a worker as the Protocol says; raise what `piped` raises."""
        if way == "inspect":
            async with tooled(await self._inspecting(), (ref, *published), place) as pipe:
                yield Worker(pipe)
            return
        with self._journals.opened(journal) as file, self._stocks.opened(stock) as access:
            async with piped(way, ref, place, file.fileno(), access, published) as pipe:
                yield Worker(pipe)

    async def forget(self, run: str) -> None:
        """Remove the journals of ``run``."""
        self._journals.forget(run)

    def shelves(self) -> tuple[str, ...]:
        """Return the shelves on which journals lie."""
        return self._journals.shelves()

    def clear(self, name: str) -> None:
        """Remove the journals on one shelf."""
        self._journals.clear(name)


@contextlib.asynccontextmanager
async def piped(
    way: Way,
    ref: DiskRef,
    place: Place,
    journal: int | None = None,
    stock: Access | None = None,
    published: tuple[DiskRef, ...] = (),
) -> AsyncGenerator[LocalPipe]:
    """Start a worker for one disk at one place; on leaving, it and all it started are gone.

    It inherits the descriptor ``journal``, without one a file that goes with it, and those of ``stock``; with
    that it sees those images that are ``published`` and are there.
    Raise Refused when this process may not enter the place's namespace or let the worker at the disk,
    Unavailable without bubblewrap.
    """
    with contextlib.ExitStack() as files:
        if journal is None:
            journal = files.enter_context(tempfile.TemporaryFile()).fileno()
        seen = _Seen(ref, tuple(_there(published)) if stock is not None else ())
        async with _started(way, seen, place, journal, stock) as pipe:
            yield pipe


@contextlib.asynccontextmanager
async def tooled(tool: Tool, disks: tuple[DiskRef, ...], place: Place) -> AsyncGenerator[LocalPipe]:
    """Start ``tool`` with these disks to read, confined; on leaving, it and all it started are gone.

    Raise as `piped` does. It has no certificate, because it speaks with nobody else.
    """
    as_root = os.geteuid() == 0
    paths = tuple(dict.fromkeys(path for ref in disks if (path := _path(ref))))
    uid, gid = _identity(disks[0], _path(disks[0])) if as_root else (confine.NOBODY, confine.NOBODY)
    confinement = confine.Confinement(
        read=(*own_program(), *tool.read, *paths),
        devices=tool.devices,
        groups=tool.groups,
        limits=replace(_LIMITS, file_size=0),
        uid=uid,
        gid=gid,
    )
    argv = [sys.executable, "-IB", "-m", tool.module, *tool.arguments]
    with contextlib.ExitStack() as loans:
        if as_root:
            loans.enter_context(lent((*_files(disks), *tool.read), uid=uid, writable=False))
        process = await _spawned(confine.command(argv, confinement, as_root=as_root), ())
        pipe = LocalPipe(f"the {tool.module} worker at {place.cloud or place.address}", process, "")
        try:
            yield pipe
        finally:
            await pipe.end()


@contextlib.asynccontextmanager
async def _started(
    way: Way, seen: "_Seen", place: Place, journal: int, stock: Access | None
) -> AsyncGenerator[LocalPipe]:
    as_root = os.geteuid() == 0
    confinement = _confinement(seen, as_root=as_root)
    inherited = (journal,) if stock is None else (journal, stock.chunks, stock.table)
    argv = [sys.executable, "-IB", "-m", "crossport.transfer.worker", way, *map(str, inherited)]
    line = [*_entered(place, as_root=as_root), *confine.command(argv, confinement, as_root=as_root)]
    with contextlib.ExitStack() as loans:
        if as_root:
            loans.enter_context(lent(_files([seen.ref]), uid=confinement.uid, writable=way == "receive"))
            loans.enter_context(lent(_files(seen.published), uid=confinement.uid, writable=False))
        process = await _spawned(line, inherited)
        own = replace(credential.made(), stock_key=stock.key.hex() if stock else "")
        pipe = LocalPipe(f"the {way} worker at {place.cloud or place.address}", process, own.certificate)
        try:
            await pipe.give(own.line())
            yield pipe
        finally:
            await pipe.end()


async def _spawned(line: list[str], inherited: tuple[int, ...]) -> asyncio.subprocess.Process:
    """Start the process. Whoever is cancelled meanwhile has ended it before that is raised.

    asyncio itself would kill bubblewrap alone, at a moment when what that has begun may stay behind.
    """
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE,
            start_new_session=True,
            pass_fds=inherited,
        )
    )
    try:
        return await asyncio.shield(spawning)
    except FileNotFoundError as error:
        raise errors.Unavailable(
            "hypervisor.tool.missing",
            f"{line[0]} is not installed.",
            remedy="Install the packages bubblewrap and util-linux.",
        ) from error
    except asyncio.CancelledError:
        await asyncio.wait({spawning})
        if spawning.exception() is None:
            await LocalPipe("a worker", spawning.result(), "").end()
        raise


def _entered(place: Place, *, as_root: bool) -> list[str]:
    if not place.namespace:
        return []
    if not _NAMESPACE.fullmatch(place.namespace) or ".." in place.namespace:
        raise errors.Invalid(
            "transfer.place.namespace",
            f"{place.namespace!r} is no network namespace.",
            remedy="Name one that ip netns list shows.",
        )
    if not as_root:
        raise errors.Refused(
            "transfer.place.root",
            f"Only root can enter the network namespace {place.namespace}.",
            remedy="Run the server as root, or use places without a namespace.",
        )
    return ["nsenter", f"--net={Path('/run/netns') / place.namespace}", "--"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The disk that a worker sees, and images that it may read."""

    ref: DiskRef
    published: tuple[DiskRef, ...]


def _there(published: tuple[DiskRef, ...]) -> Iterator[DiskRef]:
    """Return the images that can be given to a worker: one that is gone is no reason not to copy."""
    for ref in published:
        with contextlib.suppress(errors.Unavailable):
            _path(ref)
            yield ref


def _files(refs: Iterable[DiskRef]) -> list[Path]:
    return [Path(file_of(ref.locator)[0]) for ref in refs if ref.kind == "file"]


def _confinement(seen: _Seen, *, as_root: bool) -> confine.Confinement:
    ref, path = seen.ref, _path(seen.ref)
    uid, gid = _identity(ref, path) if as_root else (confine.NOBODY, confine.NOBODY)
    images = {image for one in seen.published if (image := _path(one))}
    return confine.Confinement(
        # A socket that is bound for reading can be connected to all the same.
        read=(*own_program(), *_trusted(ref), *images),
        write=(path,) if path else (),
        limits=_LIMITS,
        environment=_MEMORY,
        uid=uid,
        gid=gid,
        network=True,
    )


def _trusted(ref: DiskRef) -> tuple[Path, ...]:
    """Return the certificates of authorities that a reader of the web needs."""
    return tuple(bundle for bundle in BUNDLES if bundle.exists()) if ref.kind == "http" else ()


def _path(ref: DiskRef) -> Path | None:
    """Return the file or socket that is bound into the worker's view, None when there is none."""
    text = nbd_wire.address_of(ref.locator).path if ref.kind == "nbd" else ""
    if ref.kind == "file":
        text = file_of(ref.locator)[0]
    path = Path(text)
    if text and (not path.is_absolute() or ".." in path.parts or len(path.parts) < 2):
        raise errors.Invalid(
            "transfer.disk.kind",
            f"{text} is not an absolute path.",
            field="ref.locator",
            remedy="Look at how the cloud describes its disk: its driver is at fault.",
        )
    if text and not path.exists():
        raise errors.Unavailable(
            "transfer.disk.closed",
            f"There is no {path}.",
            remedy="Look whether the disk is still there at its cloud; then try again.",
        )
    return path if text else None


def _identity(ref: DiskRef, path: Path | None) -> tuple[int, int]:
    """Return whom the worker runs as: the owner of its socket where that is not root."""
    if path is None or ref.kind != "nbd":
        return confine.NOBODY, confine.NOBODY
    facts = path.stat()
    if facts.st_uid and facts.st_gid:
        return facts.st_uid, facts.st_gid
    if not facts.st_mode & stat.S_IWOTH:
        raise errors.Refused(
            "transfer.socket.closed",
            f"{path} belongs to root and is closed to the unprivileged user that copies.",
            remedy="Give the socket to the server's own user, or open it to others in a closed directory.",
        )
    return confine.NOBODY, confine.NOBODY
