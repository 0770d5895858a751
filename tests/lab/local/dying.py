"""A service of an embedded cloud that is killed at the n-th thing that it does to the world, by its own hand.

What counts: a row written to the state, a file or directory made, moved or removed, a process started. The
kill comes just before; what was done before that stays, as after ``kill -9``. A cloud's operations run here
as the service runs them, without the HTTP before them, in a process forked from one that has everything
loaded: so a kill costs milliseconds, not the start of a Python.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.lab.local.operations import OPERATIONS

from crossport import errors
from crossport.clouds.local import orphan, serving
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.ownership import locked, open_installation
from crossport.clouds.local.recovery import found_again
from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import Guest, Image, OpenExport, OpenImport, State, Volume

__all__ = ["forked", "killed", "left_over", "repeated"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
_DOORS = (
    (State, ("put", "drop", "remember", "admit")),
    (os, ("posix_spawn", "rename", "replace", "unlink", "mkdir", "rmdir")),
    (asyncio, ("create_subprocess_exec",)),
)


def forked(root: Path, task: Callable[..., Awaitable[object]], *words: object) -> Any:
    """Own the cloud in a process of its own, do ``task`` there, and return what it returns.

    Return the negative number of the signal that killed it. Raise what the task raised.
    """
    ours, theirs = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_owned, args=(root, task, words, theirs))
    process.start()
    theirs.close()
    outcome: Any = None
    with contextlib.suppress(EOFError):
        outcome = ours.recv()
    process.join()
    if process.exitcode:
        return process.exitcode
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _owned(
    root: Path, task: Callable[..., Awaitable[object]], words: tuple[object, ...], to: Connection
) -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) <= 2)  # or who outlives us keeps the test waiting
    lock = _free(Layout(root))
    try:
        to.send(asyncio.run(_done(root, task, words)))
    except BaseException as error:  # noqa: BLE001 - told to the test, which raises it
        to.send(error)
    finally:
        os.close(lock)


def _free(layout: Layout) -> int:
    """Take the lock, once the service that took the first image has found itself idle and ended."""
    for _ in range(600):
        with contextlib.suppress(errors.Conflict):
            return locked(layout)
        time.sleep(0.05)
    return locked(layout)


async def _done(root: Path, task: Callable[..., Awaitable[object]], words: tuple[object, ...]) -> object:
    cloud = open_installation(Layout(root))
    try:
        await found_again(cloud)
        return await task(cloud, *words)
    finally:
        cloud.state.close()


async def killed(cloud: Installation, name: str, step: str, at: int) -> int:
    """Do the operation and be killed ``at``; with 0 return how many kills there are to be had."""
    operation = OPERATIONS[name]
    await operation.before(cloud, step)
    count = 0

    def reached() -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, doors in _DOORS:
        for door in doors:
            setattr(owner, door, _watched(getattr(owner, door), reached))
    await operation.work(cloud, step)
    return count


def _watched(door: Callable[..., Any], reached: Callable[[], None]) -> Callable[..., Any]:
    def watched(*args: Any, **named: Any) -> Any:
        reached()
        return door(*args, **named)

    return watched


async def repeated(cloud: Installation, name: str, step: str) -> list[str]:
    """Do again what was killed; return what is there that should not be, then and when it is taken back."""
    operation = OPERATIONS[name]
    await operation.work(cloud, step)
    wrong = await _settled(cloud)
    await operation.after(cloud, step)
    return wrong + await _settled(cloud)


async def _settled(cloud: Installation) -> list[str]:
    """Return what is left over; what was told to end takes a moment to be gone."""
    for _ in range(100):
        if not left_over(cloud):
            return []
        await asyncio.sleep(0.05)
    return left_over(cloud)


def left_over(cloud: Installation) -> list[str]:
    """Say what this machine has of the cloud although its state does not know it, or the other way round."""
    state, layout = cloud.state, cloud.layout
    opened = [*state.every(OpenExport), *state.every(OpenImport)]
    known = {layout.images: {f"{image.id}.{image.format}" for image in state.every(Image)}}
    known[layout.vms] = {one.vm.id for one in state.every(Guest)}
    paths = [cloud.path(one) for one in state.every(Volume)]
    known[layout.volumes] = {path.name for path in paths if path.parent == layout.volumes}
    serves = {serving.socket_path(cloud, one.id).parent.name for one in opened if one.daemon or _live(one)}
    known[cloud.runtime] = serves
    wrong = [
        f"{folder.name}: {sorted(name)}"
        for folder, names in known.items()
        if (name := {path.name for path in folder.iterdir()} ^ names)
    ]
    servers = {path.name.partition(".")[0] for path in layout.exports.iterdir()}
    wrong += [f"exports: {name}" for name in servers - serves]
    uids = [one.uid for one in state.every(Guest)]
    if cloud.as_root and len(set(uids)) < len(uids):
        wrong.append(f"uids: {uids}")
    return wrong + list(orphan.orphans(cloud))


def _live(opened: OpenExport | OpenImport) -> bool:
    return isinstance(opened, OpenExport) and opened.live
