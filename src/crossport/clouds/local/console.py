"""The serial console: its log, kept within bounds, and what the guest reports on it."""

import dataclasses
import os

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import console_of, control_of
from crossport.clouds.local.seed import REPORTED
from crossport.clouds.local.state import Guest
from crossport.hypervisor import qmp
from crossport.hypervisor.qemu import CD

__all__ = ["eject_seed", "has_reported", "tail", "trim"]


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
    """Forget the older part of a log that has grown over twice its bound.

    QEMU appends, so it goes on behind what is kept; what it writes between reading and cutting is lost.
    """
    path, bound = console_of(cloud, guest), cloud.spec.console_size
    try:
        with path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) <= 2 * bound:
                return
            file.seek(-bound, os.SEEK_END)
            kept = file.read()
            file.seek(0)
            file.write(kept)
            file.truncate()
    except FileNotFoundError:
        return
    known = cloud.state.find(guest.vm.id, Guest)
    if known is not None:
        cloud.state.put(guest.vm.id, dataclasses.replace(known, console_start=0))


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
