"""One moment of a running guest's disks, readable while the guest goes on.

QEMU copies a block aside before the guest overwrites it, into a temporary overlay, and serves the overlay:
what is read there is the disk as it was. All disks are caught at the same instant. Nothing of the VM itself
changes (QEMU, docs/interop/live-block-operations and "image fleecing").
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.clouds.local import freeze, serving, tracking
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of
from crossport.clouds.local.state import Guest, OpenExport, Volume
from crossport.hypervisor import qmp
from crossport.hypervisor.qemu_img import QemuImg

__all__ = ["Caught", "begin_fleecing", "end_fleecing"]

_POLLS, _POLL_S = 400, 0.05


@dataclass(frozen=True, slots=True)
class Caught:
    """The moment. ``bitmaps`` tell what changed, by volume id; ``frozen``: the file systems were still."""

    bitmaps: Mapping[str, str]
    frozen: bool


async def begin_fleecing(
    cloud: Installation, guest: Guest, opened: OpenExport, volumes: Sequence[Volume], path: Path
) -> Caught:
    """Catch the disks now and serve them, each under its volume id, at the socket ``path``.

    The marks are set in the same instant, so that no write of the guest falls between.
    """
    overlays = [await _overlay(cloud, guest, number, volume) for number, volume in enumerate(volumes)]
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        for number, overlay in enumerate(overlays):
            await _add_overlay(steer, number, overlay)
        told = await tracking.live(cloud, opened, volumes, steer)
        backups: list[dict[str, object]] = [
            {
                "type": "blockdev-backup",
                "data": {
                    "job-id": f"catch-{number}",
                    "device": f"disk-{number}",
                    "target": f"moment-{number}",
                    "sync": "none",
                },
            }
            for number in range(len(volumes))
        ]
        async with freeze.held(cloud, guest, steer) as still:
            await steer.execute("transaction", {"actions": [*told.actions, *backups]})
        with serving.listening(cloud, path) as listener:
            await steer.pass_descriptor("moment", listener.fileno())
        await steer.execute("nbd-server-start", {"addr": {"type": "fd", "data": {"str": "moment"}}})
        for number, volume in enumerate(volumes):
            export: dict[str, object] = {"type": "nbd", "id": f"moment-{number}"}
            export["node-name"] = f"moment-{number}"
            if volume.id in told.bitmaps:
                export["bitmaps"] = [{"node": f"disk-{number}", "name": told.bitmaps[volume.id]}]
            await steer.execute("block-export-add", {**export, "name": volume.id})
    return Caught(told.bitmaps, frozen=still.kept)


async def end_fleecing(cloud: Installation, guest: Guest, count: int) -> None:
    """Undo it, as far as it got; the guest goes on. May be called twice, and after QEMU has ended."""
    if guest.daemon is not None:
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            for number in range(count):
                await _tried(steer, "block-export-del", {"id": f"moment-{number}", "mode": "hard"})
            await _tried(steer, "nbd-server-stop", {})
            await _until_gone(steer, "query-block-exports", "id", "moment-")
            await tracking.drop_told(steer)
            for number in range(count):
                await _tried(steer, "block-job-cancel", {"device": f"catch-{number}", "force": True})
            await _until_gone(steer, "query-block-jobs", "device", "catch-")
            for number in range(count):
                await _tried(steer, "blockdev-del", {"node-name": f"moment-{number}"})
    for path in cloud.layout.vm(guest.vm.id).glob("moment-*.qcow2"):
        path.unlink()


async def _overlay(cloud: Installation, guest: Guest, number: int, volume: Volume) -> Path:
    path = cloud.layout.vm(guest.vm.id) / f"moment-{number}.qcow2"
    path.unlink(missing_ok=True)
    await QemuImg().create(path, "qcow2", volume.size)
    return path


async def _add_overlay(steer: qmp.Monitor, number: int, path: Path) -> None:
    # The file is outside of what QEMU may open, so it is handed over open.
    descriptor = os.open(path, os.O_RDWR)
    try:
        descriptors = await steer.add_descriptor(descriptor)
    finally:
        os.close(descriptor)
    node = {
        "driver": "qcow2",
        "node-name": f"moment-{number}",
        "file": {"driver": "file", "filename": f"/dev/fdset/{descriptors}"},
        "backing": f"disk-{number}",
    }
    await steer.execute("blockdev-add", node)


async def _tried(steer: qmp.Monitor, command: str, arguments: dict[str, object]) -> None:
    try:
        await steer.execute(command, arguments)
    except errors.Broken:
        # Not there: it was undone before, or never done.
        return


async def _until_gone(steer: qmp.Monitor, query: str, key: str, prefix: str) -> None:
    for _ in range(_POLLS):
        if not any(str(one[key]).startswith(prefix) for one in await steer.execute(query)):
            return
        await asyncio.sleep(_POLL_S)
