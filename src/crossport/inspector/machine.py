"""The appliance as a process: QEMU with the guest's disks, read-only, and two sockets for what it tells.

It is a child of the worker and lives within the worker's confinement: no network, no file but the disks.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crossport import errors
from crossport.hypervisor.nbd_wire import address_of
from crossport.hypervisor.qemu import PINNED_Q35, Accelerator
from crossport.inspector.appliance import Appliance
from crossport.model.artifact import DiskRef
from crossport.model.locator import file_of

__all__ = ["MEMORY", "Limit", "Running", "command_line", "running"]

MEMORY = 384
"""MiB of the appliance."""
_PROGRAM = "qemu-system-x86_64"
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class Running:
    """What the appliance tells: few small files, then, if it was asked to, all files. Both end with it."""

    answer: BinaryIO
    content: BinaryIO
    late: threading.Event
    """Set when it was ended because its time was over."""
    allow: Callable[[float], None]
    """Let it take so many seconds from now, whatever it had before."""


class Limit:
    """Ends a process when its time is over, and says so."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        self.over = threading.Event()
        self._process = process
        self._timer = self._started(limit_s)

    def allow(self, limit_s: float) -> None:
        """Let it take so many seconds from now."""
        self._timer.cancel()
        self._timer = self._started(limit_s)

    def cancel(self) -> None:
        """Limit it no longer."""
        self._timer.cancel()

    def _started(self, limit_s: float) -> threading.Timer:
        timer = threading.Timer(limit_s, self._end)
        timer.daemon = True
        timer.start()
        return timer

    def _end(self) -> None:
        self.over.set()
        self._process.kill()


@contextlib.contextmanager
def running(
    appliance: Appliance, accelerator: Accelerator, disks: tuple[DiskRef, ...], limit_s: float, *, scan: bool
) -> Generator[Running]:
    """Start the appliance for ``limit_s`` unless it is allowed more; on leaving, it is gone."""
    with contextlib.ExitStack() as held:
        pairs = [socket.socketpair() for _ in range(2)]
        for ours, theirs in pairs:
            held.enter_context(ours)
            held.enter_context(theirs)
        numbers = tuple(theirs.fileno() for _, theirs in pairs)
        process = subprocess.Popen(
            command_line(appliance, accelerator, disks, numbers, scan=scan),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=numbers,
        )
        held.callback(process.wait)
        held.callback(process.kill)
        limit = Limit(process, limit_s)
        held.callback(limit.cancel)
        for _, theirs in pairs:
            theirs.close()
        answer, content = (held.enter_context(ours.makefile("rb")) for ours, _ in pairs)
        yield Running(answer, content, limit.over, limit.allow)


def command_line(
    appliance: Appliance,
    accelerator: Accelerator,
    disks: tuple[DiskRef, ...],
    sockets: tuple[int, ...],
    *,
    scan: bool,
) -> list[str]:
    """Return the command that starts the appliance with these disks."""
    line = [
        _PROGRAM,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-sandbox",
        _SANDBOX,
    ]
    cpu, tuning = ("host", "") if accelerator is Accelerator.KVM else ("max", ",tb-size=128")
    line += ["-machine", PINNED_Q35, "-accel", f"{accelerator}{tuning}", "-cpu", cpu, "-m", str(MEMORY)]
    words = f"console=ttyS0 quiet panic=-1 crossport.disks={len(disks)} crossport.scan={int(scan)}"
    line += ["-kernel", str(appliance.kernel), "-initrd", str(appliance.ram_disk), "-append", words]
    line += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    line += ["-device", "virtio-serial-pci"]
    for name, number in zip(("answer", "content"), sockets, strict=True):
        line += ["-chardev", f"socket,id={name},fd={number}"]
        line += ["-device", f"virtserialport,chardev={name},name={name}"]
    for index, ref in enumerate(disks):
        line += ["-blockdev", json.dumps(_node(f"disk-{index}", ref))]
        line += ["-device", f"virtio-blk-pci,drive=disk-{index},serial=disk-{index}"]
    return line


def _node(name: str, ref: DiskRef) -> dict[str, object]:
    """Return the block node of a disk: raw bytes, whatever they look like."""
    raw: dict[str, object] = {"driver": "raw", "node-name": name, "read-only": True}
    if ref.kind == "file":
        path = str(Path(file_of(ref.locator)[0]))
        return raw | {"file": {"driver": "file", "filename": path, "read-only": True}}
    address = address_of(ref.locator) if ref.kind == "nbd" else None
    if address is None or not address.path:
        raise errors.Refused(
            "inspect.disk.kind",
            f"A disk of kind {ref.kind} cannot be shown to the inspection appliance, which has no network.",
            field="ref.kind",
            remedy="Let the import policy ask for no check of packages by this site.",
        )
    server = {"type": "unix", "path": address.path}
    return raw | {"file": {"driver": "nbd", "server": server, "export": address.export, "read-only": True}}
