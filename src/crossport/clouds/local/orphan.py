"""Processes that belong to this cloud's directory, and which of them the state does not know."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import Guest, OpenExport, OpenImages, OpenImport
from crossport.hypervisor.daemon import Daemon

__all__ = ["end_orphans", "known_daemons", "orphans", "processes"]

_END_S, _POLL_S = 20.0, 0.02
_PROGRAMS = ("qemu-system-x86_64", "qemu-storage-daemon", "swtpm", "qemu-img", "genisoimage")


def known_daemons(cloud: Installation) -> list[Daemon]:
    """Return every daemon that the state knows, ended or not."""
    state = cloud.state
    pairs = [(guest.daemon, guest.tpm_daemon) for guest in state.every(Guest)]
    all_daemons = [daemon for pair in pairs for daemon in pair]
    all_daemons += [one.daemon for one in state.every(OpenExport)]
    all_daemons += [one.daemon for one in state.every(OpenImport)]
    all_daemons += [one.daemon for one in state.every(OpenImages)]
    return [daemon for daemon in all_daemons if daemon is not None]


def orphans(cloud: Installation) -> tuple[str, ...]:
    """Say in words which confined processes use the cloud's files although its state does not know them."""
    return tuple(f"process {pid} ({program})" for pid, program in _unknown(cloud))


async def end_orphans(cloud: Installation) -> tuple[str, ...]:
    """End the programs of this cloud that its state does not know, and return them in words.

    Raise Unavailable ``cloud.orphans.stuck`` when the kernel does not let them go.
    """
    ended = tuple(f"process {pid} ({program})" for pid, program in _unknown(cloud) if program in _PROGRAMS)
    loop = asyncio.get_running_loop()
    until = loop.time() + _END_S
    while left := [one for one in _unknown(cloud) if one[1] in _PROGRAMS]:
        if loop.time() > until:
            raise errors.Unavailable(
                "cloud.orphans.stuck",
                f"Processes of {cloud.spec.name} were killed and do not end: {left}.",
                remedy="They wait for a device; look at the disks that they use, then try again.",
            )
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_POLL_S)
    return ended


def _unknown(cloud: Installation) -> list[tuple[int, str]]:
    """Return pid and program of each confined process that uses the cloud's files unknown to the state."""
    known = {pid for daemon in known_daemons(cloud) for pid in (daemon.pid, daemon.starter)}
    found = list(processes(cloud.layout.root))
    # What this service itself is just using, such as qemu-img.
    known |= {pid for pid, parent, _ in found if parent == os.getpid()}
    return [(pid, program) for pid, parent, program in found if pid not in known and parent not in known]


def processes(root: Path) -> Iterator[tuple[int, int, str]]:
    """Yield pid, parent and program of each confined process that has files below ``root``."""
    inside = f"{root}/".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # it has just ended
        confined = words[0] == b"bwrap" and any(word.startswith(inside) for word in words)
        if confined:
            yield int(folder.name), parent, _program(words)


def _program(words: list[bytes]) -> str:
    names = {name.encode() for name in _PROGRAMS}
    return next((word.decode() for word in words if word in names), "bwrap")
