"""The serial console: its log, kept within bounds, and what the guest reports on it."""

import dataclasses
import os
from pathlib import Path

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import console_of, control_of
from crossport.clouds.local.seed import REPORTED
from crossport.clouds.local.state import Guest
from crossport.hypervisor import qmp
from crossport.hypervisor.qemu import CD

__all__ = ["eject_seed", "has_reported", "shorten", "tail", "trim"]


def tail(cloud: Installation, guest: Guest, last_bytes: int, *, this_boot: bool = False) -> str:
    """Return the end of what the guest has printed, or of what it printed since it was started."""
    try:
        with console_of(cloud, guest).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            first = guest.console_start if this_boot and guest.console_start <= end else 0
            file.seek(max(first, end - last_bytes))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def trim(cloud: Installation, guest: Guest) -> None:
    """Forget the older part of the guest's logs that have grown over twice their bound.

    The programs append, so they go on behind what is kept; what is written while it is cut is lost.
    """
    folder, bound = cloud.layout.vm(guest.vm.id), cloud.spec.console_size
    for name in ("qemu.log", "tpm.log"):  # a guest can make both say something, again and again
        shorten(folder / name, bound)
    gone = shorten(console_of(cloud, guest), bound)
    known = cloud.state.find(guest.vm.id, Guest) if gone else None
    if known is not None:
        start = max(0, known.console_start - gone)
        cloud.state.put(guest.vm.id, dataclasses.replace(known, console_start=start))


def shorten(path: Path, bound: int) -> int:
    """Cut a log over twice ``bound`` down to its last ``bound`` bytes; return how many are gone."""
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end <= 2 * bound:
                return 0
            file.seek(-bound, os.SEEK_END)
            kept = file.read(bound)
            file.seek(0)
            file.write(kept)
            file.truncate()
            return end - bound
    except FileNotFoundError:
        return 0


def has_reported(cloud: Installation, guest: Guest) -> bool:
    """Say whether the guest has told in this boot that it has read its seed."""
    text = tail(cloud, guest, cloud.spec.console_size, this_boot=True).encode()
    return any(sign in text for sign in REPORTED)


async def eject_seed(cloud: Installation, guest: Guest) -> None:
    """Take the seed out of the running guest's drive and delete it. Not an error when it is out."""
    if not guest.seeded:
        return
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        for command, arguments in (
            ("blockdev-open-tray", {"id": CD, "force": True}),
            ("blockdev-remove-medium", {"id": CD}),
            ("blockdev-close-tray", {"id": CD}),
            ("blockdev-del", {"node-name": "seed"}),
            ("blockdev-del", {"node-name": "seed-file"}),
        ):
            try:
                await steer.execute(command, arguments)
            except errors.Broken:
                # Done before by a service that died in between; the last word has the drive itself.
                continue
    cloud.state.put(guest.vm.id, dataclasses.replace(guest, seeded=False))
    folder = cloud.layout.vm(guest.vm.id)
    (folder / "seed.iso").unlink(missing_ok=True)
    for path in (folder / "seed").glob("*"):
        path.unlink()
