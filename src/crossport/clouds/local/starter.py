"""See to it that a cloud's service runs: started detached by whoever needs it first.

Starting it twice does no harm: the second one finds the lock taken and ends.
"""

import asyncio
import fcntl
import os
import sys
from pathlib import Path

from crossport import errors
from crossport.clouds.local import wire
from crossport.clouds.local.spec import Layout
from crossport.hypervisor import unix_socket
from crossport.hypervisor.daemon import last_line
from crossport.model import codec

__all__ = ["ensure_running"]

_START_S = 60.0
_STARTS = 3
_POLL_S = 0.05


async def ensure_running(root: Path) -> None:
    """Return when the service of the cloud in ``root`` takes calls.

    Raise NotFound ``cloud.unknown`` for no cloud, what the service itself says of why it cannot start, or
    Unavailable ``cloud.service.silent`` with its last word.
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
    until = loop.time() + _START_S
    starts, voice = 0, None
    try:
        while not _answers(layout.socket):
            if loop.time() > until:
                raise _silent(layout)
            # Ours may have found one that was just ending; then another has to be started.
            if (voice is None or voice.ended()) and not _owned(layout):
                if starts == _STARTS:
                    raise _silent(layout)
                starts, voice = starts + 1, await _started(layout, voice)
            await asyncio.sleep(_POLL_S)
    finally:
        if voice is not None:
            voice.close()


class _Voice:
    """The end of a pipe on which a service says why it cannot start, and which closes when it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._said = b""
        os.set_blocking(descriptor, False)

    def ended(self) -> bool:
        """Say whether the service has ended; raise what it said."""
        try:
            while piece := os.read(self._descriptor, 4096):
                self._said += piece
        except BlockingIOError:
            return False
        if self._said:
            raise wire.error_of(codec.decoded(self._said, wire.Fault))
        return True

    def close(self) -> None:
        """Listen no more."""
        os.close(self._descriptor)


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


async def _started(layout: Layout, before: _Voice | None) -> _Voice:
    """Start a service, and listen to it instead of the one ``before``."""
    if before is not None:
        before.close()
    readable, writable = os.pipe()
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
            "--voice",
            str(writable),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            pass_fds=(writable,),
        )
        await process.wait()
    finally:
        os.close(output)
        os.close(writable)
    return _Voice(readable)


def _silent(layout: Layout) -> errors.Unavailable:
    return errors.Unavailable(
        "cloud.service.silent",
        f"The service of the cloud in {layout.root} does not answer. "
        f"{last_line(layout.root / 'service.out')}".rstrip(),
        remedy=f"Look at {layout.log}.",
    )
