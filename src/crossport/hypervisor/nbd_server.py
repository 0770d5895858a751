"""Serve files of stated format over NBD: QEMU's storage daemon, confined to these files.

One daemon serves several exports at one socket, which the caller has opened and passes on; so the daemon
needs no directory and no network. No format is ever guessed and no backing file followed. A raw file is
served in whole sectors: what lies between its end and the sector's end reads as zero.
"""

import asyncio
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.hypervisor import daemon, qmp, unix_socket
from crossport.hypervisor.confine import Confinement, Limits

__all__ = ["Served", "finish", "serve"]

_PROGRAM = "qemu-storage-daemon"
_FINISH_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One export. ``format`` is ``raw`` or ``qcow2``; ``bitmap`` is a dirty bitmap within the latter."""

    name: str
    path: Path
    format: str
    writable: bool = False
    bitmap: str = ""


async def serve(
    served: Sequence[Served], *, listener: socket.socket, control: Path, uid: int, log: Path
) -> daemon.Daemon:
    """Start serving at ``listener``; return when the daemon answers at its control socket ``control``.

    The files must admit ``uid``. Raise Unavailable ``hypervisor.nbd.failed`` with what the daemon said.
    """
    steering = unix_socket.listening(control)
    with steering:
        running = await daemon.start(
            _command(served, listener.fileno(), steering.fileno()),
            Confinement(
                read=tuple(one.path for one in served if not one.writable),
                write=tuple(one.path for one in served if one.writable),
                uid=uid,
                gid=uid,
                outlives_parent=True,
                limits=Limits(cpu_s=None, open_files=1024),
            ),
            log=log,
            descriptors=(listener.fileno(), steering.fileno()),
        )
    try:
        async with qmp.monitor(control) as steer:
            await steer.execute("query-block-exports")
    except errors.Unavailable as error:
        await daemon.kill(running)
        raise errors.Unavailable(
            "hypervisor.nbd.failed",
            f"The disks could not be opened for copying: {daemon.last_line(log) or error.text}",
            remedy="Look whether another program uses them.",
        ) from error
    return running


async def finish(running: daemon.Daemon, control: Path) -> None:
    """Cut all clients off, write everything down, and end the daemon. Not an error when it is gone."""
    if not daemon.alive(running):
        return
    async with qmp.monitor(control) as steer:
        for export in await steer.execute("query-block-exports"):
            await steer.execute("block-export-del", {"id": export["id"], "mode": "hard"})
        await _until_none(steer)
        await steer.execute("quit")
    if not await daemon.ended(running, _FINISH_S):
        await daemon.kill(running)


async def _until_none(steer: qmp.Monitor) -> None:
    for _ in range(round(_FINISH_S / _POLL_S)):
        if not await steer.execute("query-block-exports"):
            return
        await asyncio.sleep(_POLL_S)


def _command(served: Sequence[Served], listener: int, steering: int) -> list[str]:
    line = [_PROGRAM, "--chardev", f"socket,id=steer,fd={steering},server=on,wait=off"]
    line += ["--monitor", "chardev=steer"]
    for number, one in enumerate(served):
        line += ["--blockdev", json.dumps(_file(number, one)), "--blockdev", json.dumps(_disk(number, one))]
    line += ["--nbd-server", f"addr.type=fd,addr.str={listener}"]
    for number, one in enumerate(served):
        export: dict[str, object] = {"type": "nbd", "id": f"e{number}", "node-name": f"d{number}"}
        export |= {"name": one.name, "writable": one.writable}
        if one.bitmap:
            export["bitmaps"] = [one.bitmap]
        line += ["--export", json.dumps(export)]
    return line


def _file(number: int, one: Served) -> dict[str, object]:
    return {
        "driver": "file",
        "node-name": f"f{number}",
        "filename": str(one.path),
        "read-only": not one.writable,
        "discard": "unmap",
    }


def _disk(number: int, one: Served) -> dict[str, object]:
    node: dict[str, object] = {
        "driver": one.format,
        "node-name": f"d{number}",
        "file": f"f{number}",
        "read-only": not one.writable,
        "discard": "unmap",
    }
    if one.writable:
        node["detect-zeroes"] = "unmap"
    if one.format == "qcow2":
        node["backing"] = None
    return node
