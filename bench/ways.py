"""Two ways to move one VM: Crossport's, and that of the system Crossport grew from, told in the same phases.

The earlier way is store and forward: the image goes to a file at the source, a service in the middle fetches
that file over HTTP and puts it over HTTP to the target's image service, and a VM is made from the image.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossport.clouds.local import wire
from crossport.model.artifact import ExportPoint, Way
from crossport.model.run import PHASES, Act, MigrationReport, RunState
from crossport.model.vm import VM
from laboratory import TENANT, Laboratory
from seed_service import FETCHES_FROM, PUTS_FROM

__all__ = ["Moved", "crossport_way", "earlier_way"]

SERVICE = Path(__file__).with_name("seed_service.py")
SHUTDOWN_S = 90.0


@dataclass
class Moved:
    """One VM moved: ``vm`` at the target, seconds by phase, and what else was seen.

    ``total_s`` ends when the guest answers to somebody in the ``wan``; ``boot_s`` of it is the guest's own.
    """

    vm: VM
    phases: dict[str, float]
    total_s: float
    boot_s: float
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


async def crossport_way(lab: Laboratory, vm: VM, number: int) -> Moved:
    """Migrate as a person would who has made a dry run, until the guest answers at the target."""
    control = lab.site.control
    began = time.monotonic()
    run = await control.migrate(TENANT, lab.request(vm), f"{vm.id}-{number}")
    submitted_s = time.monotonic() - began
    async for _ in control.events(TENANT, run.id, after=0, follow=True):
        pass
    ended_s = time.monotonic() - began - submitted_s
    report = await control.report(TENANT, run.id)
    if report.outcome is not RunState.DONE:
        raise RuntimeError(f"{report.outcome}: {report.text}")
    moved = await lab.beta.vm(report.vm_id)
    await lab.answered(lab.beta, moved)
    total_s = time.monotonic() - began
    phases = {phase.name: 0.0 if phase.merged_into else phase.seconds for phase in report.phases}
    boot_s = report.health.seconds if report.health else 0.0
    return Moved(
        moved, phases, total_s, boot_s, _seen(report) | {"submitted_s": submitted_s, "ended_s": ended_s}
    )


def _seen(report: MigrationReport) -> dict[str, Any]:
    estimate = report.estimate
    return {
        "run_s": report.total_seconds,
        "outage_s": report.outage_s,
        "copy_s": sum(each.seconds for each in report.moved),
        "bytes_read": sum(each.counters.read for each in report.moved),
        "bytes_sent": sum(each.counters.sent for each in report.moved),
        "bytes_written": sum(each.counters.written for each in report.moved),
        "verified": report.verified,
        "estimate_s": estimate.seconds if estimate else None,
        "estimate_outage_s": estimate.outage_s if estimate else None,
        "estimate_size": estimate.size if estimate else None,
        "estimate_basis": estimate.basis if estimate else "",
    }


async def earlier_way(lab: Laboratory, vm: VM, number: int) -> Moved:
    """Move the VM over two files and two HTTP transfers."""
    for address in (FETCHES_FROM, PUTS_FROM):
        await _ran("ip", "-netns", lab.wan, "address", "replace", f"{address}/32", "dev", "lo")
    name, watch = f"earlier-{vm.id}-{number}", _Watch()
    exported, fetched = lab.folder / f"{name}.export.qcow2", lab.folder / f"{name}.fetched.qcow2"
    act = Act(run=name, step="move", epoch=1)
    try:
        with watch.phase("source_authentication"):
            await lab.alpha.check()
            source = await lab.alpha.vm(vm.id)
        with watch.phase("image_creation"):
            if not await lab.alpha.shut_down(act, vm.id, SHUTDOWN_S):
                raise RuntimeError("The guest did not shut down.")
            await _export(lab, act, vm, exported)
        with watch.phase("image_download"):
            await _download(lab, exported, fetched)
        with watch.phase("target_authentication"):
            await lab.beta.check()
        with watch.phase("image_upload"):
            await _upload(lab, fetched, name)
        with watch.phase("security_setup"):
            groups = (await lab.alpha.constructs()).security_groups
            wanted = {group for nic in source.nics for group in nic.security_groups}
            for group in groups:
                if group.name in wanted:
                    await lab.beta.add_security_group(group)
        with watch.phase("instantiation"):
            moved = await lab.beta.create_vm(act, _at_target(source), name)
        with watch.phase("network_setup"):
            await lab.answered(lab.beta, moved)
        total_s = time.monotonic() - watch.began
        size = exported.stat().st_size
    finally:
        exported.unlink(missing_ok=True)
        fetched.unlink(missing_ok=True)
    await lab.beta.drop_image(name)
    boot_s, outage_s = watch.seconds["network_setup"], total_s - watch.since("image_creation")
    watch.seconds["network_setup"] = 0.0  # all of it is the guest's boot, which is told apart
    extra = {"outage_s": outage_s, "image_size": size}
    return Moved(moved, watch.seconds, total_s, boot_s, extra)


def _at_target(source: VM) -> VM:
    nics = tuple(replace(nic, network="frontend", addresses=(), mac="") for nic in source.nics)
    disks = tuple(replace(disk, id="") for disk in source.disks if not disk.seed)
    return replace(source, id="", nics=nics, disks=disks)


class _Watch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._starts: dict[str, float] = {}
        self._now = ""

    def phase(self, name: str) -> "_Watch":
        """Time the block as this phase."""
        self._now = name
        return self

    def __enter__(self) -> None:
        self._starts[self._now] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._now] = time.monotonic() - self._starts[self._now]

    def since(self, name: str) -> float:
        """Return when the phase began, in seconds from the beginning."""
        return self._starts[name] - self.began


async def _export(lab: Laboratory, act: Act, vm: VM, path: Path) -> None:
    """Write the disk to a file, as an image service's upload does."""
    opened = await lab.alpha.export(act, vm.id, ExportPoint.STOPPED)
    disk = next(artifact for artifact in opened.artifacts if artifact.name.startswith("disk"))
    try:
        await _ran("qemu-img", "convert", "-f", "raw", "-O", "qcow2", _nbd(disk.ref.locator), str(path))
    finally:
        await lab.alpha.end_export(act, vm.id)


def _nbd(locator: str) -> str:
    """Return an NBD address as qemu-img wants it."""
    address, _, query = locator.partition("?")
    export = dict(part.split("=", 1) for part in query.split("&") if part).get("export", "")
    return f"nbd:{address}:exportname={export}"


async def _download(lab: Laboratory, exported: Path, fetched: Path) -> None:
    seat = await lab.alpha.place(Way.READ)
    async with _listening(seat.namespace, "serve", seat.address, str(exported)) as port:
        await _ran_in(lab.wan, "fetch", f"http://{seat.address}:{port}/", str(fetched))


async def _upload(lab: Laboratory, fetched: Path, name: str) -> None:
    seat = await lab.beta.place(Way.WRITE)
    root = lab.folder / "clouds" / "beta"
    async with _listening(seat.namespace, "receive", seat.address, str(root)) as port:
        url = f"http://{seat.address}:{port}/{wire.VERSION}/images/{name}?format=qcow2"
        await _ran_in(lab.wan, "put", str(fetched), url)


def _inside(namespace: str, *arguments: str) -> tuple[str, ...]:
    return ("nsenter", f"--net=/run/netns/{namespace}", "--", sys.executable, str(SERVICE), *arguments)


@asynccontextmanager
async def _listening(namespace: str, *arguments: str) -> AsyncGenerator[int]:
    process = await asyncio.create_subprocess_exec(
        *_inside(namespace, *arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("it was started with a pipe")
        yield int(await asyncio.wait_for(process.stdout.readline(), 10))
    finally:
        process.kill()
        await process.wait()


async def _ran_in(namespace: str, *arguments: str) -> None:
    await _ran(*_inside(namespace, *arguments))


async def _ran(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*arguments)
    if await process.wait():
        raise RuntimeError(f"{arguments[0]} failed")
