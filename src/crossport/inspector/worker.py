"""The worker that looks into a guest, a process of its own: ``crossport.inspector.worker KERNEL DISK ACCEL``.

It reads its job, one line, from standard input, tells on standard output that it lives, then what it found
in lines of bounded length, and ends when standard input ends. It runs confined, without a network, and so
does the appliance that it starts.
"""

import base64
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.hypervisor.qemu import Accelerator
from crossport.inspector.answer import answer_in
from crossport.inspector.appliance import Appliance
from crossport.inspector.content import Content, content_in
from crossport.inspector.job import BATCH, LookingJob
from crossport.inspector.machine import Running, running
from crossport.inspector.packages import guest_of
from crossport.model.inspection import Guest
from crossport.transfer.job import failure_line

__all__ = ["main"]

_ALIVE_EVERY_S = 1.0
_ORPHANED = 75
_LOCK = threading.Lock()


def main(arguments: list[str]) -> int:
    """Do the job that comes on standard input."""
    kernel, ram_disk, accelerator = arguments
    job = LookingJob.of(sys.stdin.buffer.readline())
    threading.Thread(target=_follow, daemon=True).start()
    threading.Thread(target=_live, daemon=True).start()
    appliance = Appliance(Path(kernel), Path(ram_disk))
    try:
        accelerated = Accelerator(accelerator)
        with running(appliance, accelerated, job.disks, job.limit_s, scan=job.scan) as machine:
            _read(machine, job)
            _say({"event": "done"})
    except errors.Error as error:
        _say(failure_line(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost frame of the process: told, and on stderr in full
        traceback.print_exc()
        told = errors.Broken(
            "inspect.worker.crashed",
            f"The worker that looks into the guest failed ({type(error).__name__}: {error}).",
            remedy="Look into the log of the site; then migrate again.",
        )
        _say(failure_line(told))
        return 1
    return 0


def _read(machine: Running, job: LookingJob) -> None:
    """Tell what the guest is, then hand out all its files where they are asked for."""
    limit_s = job.limit_s
    try:
        for event in _told(guest_of(answer_in(machine.answer))):
            _say(event)
        if job.scan:
            limit_s = job.scan_limit_s
            machine.allow(limit_s)
            for one in content_in(machine.content):
                _hand_out(one)
    except errors.Refused as error:
        if not machine.late.is_set():
            raise
        raise errors.Refused(
            "inspect.time.exceeded",
            f"The guest's file systems were not read within {limit_s:.0f} s.",
            remedy="They are damaged, or made to keep whoever reads them busy: look into the guest at its "
            "source. On a machine that is busy, migrate again later.",
        ) from error


def _hand_out(one: Content) -> None:
    if one.size:
        _say({"event": "file", "path": one.path, "size": one.size})
    for piece in one.pieces:
        _say({"event": "piece", "data": base64.b64encode(piece).decode()})


def _told(guest: Guest) -> Iterator[dict[str, Any]]:
    packages = iter(guest.packages)
    while batch := list(islice(packages, BATCH)):
        rows = [[one.kind, one.name, one.version, one.architecture] for one in batch]
        yield {"event": "packages", "packages": rows}
    names = ("system", "release", "title", "hostname", "listed", "unread")
    yield {"event": "guest", "count": len(guest.packages), **{name: getattr(guest, name) for name in names}}


def _say(event: dict[str, Any]) -> None:
    with _LOCK:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def _live() -> None:
    while True:
        _say({"event": "progress"})
        time.sleep(_ALIVE_EVERY_S)


def _follow() -> None:
    while sys.stdin.buffer.read(1 << 10):
        pass
    os._exit(_ORPHANED)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
