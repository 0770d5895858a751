"""Confined processes that outlive their starter and are found again: QEMU, NBD servers, software TPMs.

A daemon is known by the pid of the first process in its own process namespace, by when that started, and by
the boot of the machine: a pid alone is used again sooner or later. Ending that process ends all others of
the daemon. Everything passed on is an open descriptor or a path of the confinement.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from crossport import errors
from crossport.hypervisor import confine
from crossport.hypervisor.boot import boot_id
from crossport.model.record import record

__all__ = ["Daemon", "start", "alive", "ended", "kill", "boot_id", "last_line"]

_BWRAP = "/usr/bin/bwrap"
_START_S = 30.0
_LAST = 4096
_NEVER = -1


@record()
class Daemon:
    """A started daemon. ``started`` is in clock ticks since boot ``boot``; ``starter`` is bubblewrap."""

    pid: int
    started: int
    boot: str
    starter: int


async def start(
    argv: Sequence[str], confinement: confine.Confinement, *, log: Path, descriptors: Iterable[int] = ()
) -> Daemon:
    """Start ``argv`` confined, with its own session and its output in ``log``; return at once.

    ``descriptors`` reach it under the same numbers; the caller closes its own. That the daemon works is for
    the caller to see. Raise Unavailable ``hypervisor.daemon.failed`` if not even bubblewrap could start.
    """
    readable, writable = os.pipe()
    try:
        line = confine.command(argv, confinement, as_root=os.geteuid() == 0, info_fd=writable)
        # dup2 of a descriptor onto itself takes the close-on-exec flag off in the child only.
        passed = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (*descriptors, writable)]
        stdio = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        actions = [*stdio, *passed]
        starter = os.posix_spawn(_BWRAP, line, {}, file_actions=actions, setsid=True)  # noqa: ASYNC221 - no wait
        os.close(writable)
        writable = -1
        try:
            await asyncio.wait_for(asyncio.to_thread(select.select, [readable], [], [], _START_S), _START_S)
        except asyncio.CancelledError:
            await kill(_told(readable, starter))
            raise
        return _told(readable, starter)
    except (OSError, ValueError, KeyError, TimeoutError) as error:
        raise errors.Unavailable(
            "hypervisor.daemon.failed",
            f"{argv[0]} could not be started: {last_line(log) or error}",
            remedy="See that bubblewrap and this program are installed.",
        ) from error
    finally:
        os.close(readable)
        if writable >= 0:
            os.close(writable)


def alive(daemon: Daemon) -> bool:
    """Say whether the daemon still runs; take note of its end when it was started by this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(daemon.starter, os.WNOHANG)
    try:
        return daemon.boot == boot_id() and _start_time(daemon.pid) == daemon.started
    except OSError:
        return False


async def ended(daemon: Daemon, timeout_s: float) -> bool:
    """Wait until the daemon has ended; say whether it did within ``timeout_s``."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        return True
    end = asyncio.Event()
    loop.add_reader(handle, end.set)
    try:
        if alive(daemon):
            async with asyncio.timeout(timeout_s):
                await end.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
        os.close(handle)
        alive(daemon)


async def kill(daemon: Daemon) -> None:
    """End the daemon and everything it started, at once. Not an error when it is gone.

    Raise Unavailable ``hypervisor.daemon.stuck`` when the kernel does not let it go.
    """
    try:
        handle = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        alive(daemon)
        return
    try:
        # The descriptor cannot come to mean another process, so what is checked is what is killed.
        if alive(daemon):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    if not await ended(daemon, 20.0):
        raise errors.Unavailable(
            "hypervisor.daemon.stuck",
            f"Process {daemon.pid} was killed but does not end.",
            remedy="It waits for a device; look at the disk it uses, then try again.",
        )


def last_line(log: Path) -> str:
    """Return the last line that a daemon wrote to ``log``, empty when there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST))
        lines = file.read(_LAST).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def _told(descriptor: int, starter: int) -> Daemon:
    """Return the daemon whose pid bubblewrap writes to ``descriptor``, milliseconds after its start."""
    text = b""
    while b"}" not in text and (piece := os.read(descriptor, 4096)):
        text += piece
    pid = int(json.loads(text)["child-pid"])
    try:
        started = _start_time(pid)
    except ProcessLookupError:
        started = _NEVER  # it has ended before we came to look, as on a busy machine
    return Daemon(pid=pid, started=started, boot=boot_id(), starter=starter)


def _start_time(pid: int) -> int:
    """Return field 22 of proc(5)'s stat; raise ProcessLookupError for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return int(fields[19])
