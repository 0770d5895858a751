"""See to it that a cloud's service runs: started detached by whoever needs it first.

Starting it twice does no harm: the second one finds the lock taken and ends.
"""

import asyncio
import fcntl
import os
import sys
from pathlib import Path

from crossport import errors
from crossport.clouds.local.spec import Layout
from crossport.hypervisor import unix_socket

__all__ = ["ensure_running"]

_START_S = 60.0
_AGAIN_S = 15.0
# Python and its imports take a second; a busy machine takes ten.
_DEAD_S = 12.0
_POLL_S = 0.05


async def ensure_running(root: Path) -> None:
    """Return when the service of the cloud in ``root`` takes calls.

    Raise NotFound ``cloud.unknown`` for no cloud, Unavailable ``cloud.service.silent`` with the log's end.
    """
    layout = Layout(root)
    if not layout.state.exists():
        raise errors.NotFound(
            "cloud.unknown",
            f"There is no embedded cloud in {root}.",
            field="settings.path",
            remedy="Give the directory of an existing one.",
        )
    loop = asyncio.get_running_loop()
    begun = loop.time()
    started: float | None = None
    while not _answers(layout.socket):
        now = loop.time()
        if now - begun > _START_S or (started and now - started > _DEAD_S and not _owned(layout)):
            raise _silent(layout)
        # Again after a while: the one before may have been just ending when we came.
        if started is None or now - started > _AGAIN_S:
            started = now
            await _start(layout)
        await asyncio.sleep(_POLL_S)


def _owned(layout: Layout) -> bool:
    """Whether a service lives: it holds the lock from its first moment on."""
    with layout.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _answers(path: Path) -> bool:
    try:
        unix_socket.connected(path, timeout_s=5).close()
    except OSError:
        return False
    return True


async def _start(layout: Layout) -> None:
    output = os.open(layout.root / "service.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # setsid --fork: the service is nobody's child, so nobody has to wait for its end.
        process = await asyncio.create_subprocess_exec(
            "setsid",
            "--fork",
            sys.executable,
            "-m",
            "crossport.clouds.local.service",
            "--root",
            str(layout.root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
        )
        await process.wait()
    finally:
        os.close(output)


def _silent(layout: Layout) -> errors.Unavailable:
    try:
        said = (layout.root / "service.out").read_text(errors="replace").strip()[-500:]
    except OSError:
        said = ""
    return errors.Unavailable(
        "cloud.service.silent",
        f"The service of the cloud in {layout.root} does not answer. {said}".rstrip(),
        remedy=f"Look at {layout.log}.",
    )
