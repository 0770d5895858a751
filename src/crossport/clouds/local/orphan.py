"""Processes that belong to this cloud's directory, and which of them the state does not know."""

import os
from collections.abc import Iterator
from pathlib import Path

from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import Guest, OpenExport, OpenImport
from crossport.hypervisor.daemon import Daemon

__all__ = ["known_daemons", "orphans", "processes"]


def known_daemons(cloud: Installation) -> list[Daemon]:
    """Return every daemon that the state knows, ended or not."""
    state = cloud.state
    pairs = [(guest.daemon, guest.tpm_daemon) for guest in state.every(Guest)]
    all_daemons = [daemon for pair in pairs for daemon in pair]
    all_daemons += [one.daemon for one in state.every(OpenExport)]
    all_daemons += [one.daemon for one in state.every(OpenImport)]
    return [daemon for daemon in all_daemons if daemon is not None]


def orphans(cloud: Installation) -> tuple[str, ...]:
    """Say in words which confined processes use the cloud's files although its state does not know them."""
    known = {pid for daemon in known_daemons(cloud) for pid in (daemon.pid, daemon.starter)}
    found = list(processes(cloud.layout.root))
    # What this service itself is just using, such as qemu-img.
    known |= {pid for pid, parent, _ in found if parent == os.getpid()}
    return tuple(
        f"process {pid} ({program})"
        for pid, parent, program in found
        if pid not in known and parent not in known
    )


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
    names = (b"qemu-system-x86_64", b"qemu-storage-daemon", b"swtpm", b"qemu-img", b"genisoimage")
    return next((word.decode() for word in words if word in names), "bwrap")
