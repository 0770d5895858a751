"""Marks of a VM's disks: QEMU's dirty bitmaps, which know what was written since they were begun.

There is one bitmap for each mark and disk, named RUN.MARK. In a qcow2 disk it is kept while nobody runs the
VM, in a raw one it lives as long as QEMU does. A bitmap that QEMU had no time to write down, because it was
killed, is known as inconsistent and tells nothing. Which marks a run has set is in the state: a mark without
its bitmap was lost and is not set again, because the moment that it stood for is over.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of
from crossport.clouds.local.state import Guest, OpenExport, Tracking, Volume
from crossport.hypervisor import qmp
from crossport.hypervisor.qemu_img import Image, QemuImg
from crossport.model.artifact import Marks, Role

__all__ = ["TOLD", "Told", "drop_told", "forget_others", "forget_run", "live", "stopped"]

TOLD = "told"
"""What an export of a running VM tells: a copy of a bitmap as it was at the moment, which records nothing."""

Bitmaps = dict[str, bool]
"""Names, and whether the bitmap can be relied on."""


@dataclass(frozen=True, slots=True)
class Told:
    """What to do at the moment itself, as actions of one transaction, and the bitmap of each volume id."""

    actions: tuple[dict[str, object], ...] = ()
    bitmaps: dict[str, str] = dataclasses.field(default_factory=dict[str, str])


async def live(
    cloud: Installation, opened: OpenExport, volumes: Sequence[Volume], steer: qmp.Monitor
) -> Told:
    """Return how the marks of a running VM are set and read within the transaction that is the moment."""
    marks, prefix = opened.marks, opened.run
    if marks == Marks():
        return Told()
    known = await _live_bitmaps(steer)
    fresh = _remembered(cloud, opened)
    actions: list[dict[str, object]] = []
    bitmaps: dict[str, str] = {}
    for number, volume in enumerate(volumes):
        node = f"disk-{number}"
        if fresh:
            persistent = volume.format == "qcow2"
            name = f"{prefix}.{marks.mark}"
            actions.append(_action("add", node=node, name=name, persistent=persistent))
        since = f"{prefix}.{marks.since}"
        if marks.since and known.get(node, {}).get(since):
            actions.append(_action("add", node=node, name=TOLD, disabled=True))
            actions.append(_action("merge", node=node, target=TOLD, bitmaps=[since]))
            bitmaps[volume.id] = TOLD
    return Told(tuple(actions), bitmaps)


async def stopped(cloud: Installation, opened: OpenExport, volumes: Sequence[Volume]) -> Told:
    """Set the marks of a VM that is off, and return which bitmaps tell what changed."""
    marks = opened.marks
    if marks == Marks():
        return Told()
    fresh = _remembered(cloud, opened)
    bitmaps: dict[str, str] = {}
    for volume in volumes:
        if volume.format != "qcow2" or volume.role is not Role.DISK:
            continue
        image = Image(cloud.path(volume), "qcow2")
        known = await _kept_bitmaps(image)
        if fresh:
            await QemuImg().add_bitmap(image, f"{opened.run}.{marks.mark}")
        since = f"{opened.run}.{marks.since}"
        if marks.since and known.get(since):
            bitmaps[volume.id] = since
    return Told(bitmaps=bitmaps)


def _remembered(cloud: Installation, opened: OpenExport) -> bool:
    """Write down which marks there are; say whether the mark is a new one, to be set now."""
    marks, key = opened.marks, opened.id
    known = cloud.state.find(key, Tracking)
    before = known.marks if known else ()
    kept = [mark for mark in before if mark in (marks.since, marks.mark)]
    fresh = bool(marks.mark) and marks.mark not in kept
    kept += [marks.mark] if fresh else []
    cloud.state.put(key, Tracking(id=key, run=opened.run, vm_id=opened.vm_id, marks=tuple(kept)))
    return fresh


async def forget_others(cloud: Installation, opened: OpenExport, volumes: Sequence[Volume]) -> None:
    """Remove the run's bitmaps of marks that are kept no longer."""
    if opened.marks == Marks():
        return
    keep = {f"{opened.run}.{mark}" for mark in (opened.marks.since, opened.marks.mark) if mark}
    guest = cloud.guest(opened.vm_id)
    await _removed(cloud, guest, opened.run, volumes, keep=keep)


async def drop_told(steer: qmp.Monitor) -> None:
    """Remove what an export told, when it is not served any more."""
    for node, bitmaps in (await _live_bitmaps(steer)).items():
        if TOLD in bitmaps:
            await steer.execute("block-dirty-bitmap-remove", {"node": node, "name": TOLD})


async def forget_run(cloud: Installation, run: str, vm_id: str, guest: Guest | None) -> None:
    """Forget all marks of the run, also those that were lost. ``guest`` is settled, None when it is gone."""
    key = f"{run} {vm_id}"
    if guest is not None and cloud.state.find(key, Tracking) is not None:
        volumes = [cloud.volume(disk.id) for disk in guest.vm.disks]
        await _removed(cloud, guest, run, volumes, keep=set())
    cloud.state.drop(key, Tracking)


async def _removed(
    cloud: Installation, guest: Guest, run: str, volumes: Sequence[Volume], *, keep: set[str]
) -> None:
    def unwanted(name: str) -> bool:
        return name.startswith(f"{run}.") and name not in keep

    if guest.daemon is not None:
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            for node, bitmaps in (await _live_bitmaps(steer)).items():
                for name in filter(unwanted, bitmaps):
                    await steer.execute("block-dirty-bitmap-remove", {"node": node, "name": name})
        return
    for volume in volumes:
        if volume.format == "qcow2" and volume.role is Role.DISK:
            image = Image(cloud.path(volume), "qcow2")
            for name in filter(unwanted, await _kept_bitmaps(image)):
                await QemuImg().remove_bitmap(image, name)


async def _live_bitmaps(steer: qmp.Monitor) -> dict[str, Bitmaps]:
    found: dict[str, Bitmaps] = {}
    for node in await steer.execute("query-named-block-nodes"):
        named = [one for one in node.get("dirty-bitmaps", ()) if "name" in one]
        found[node["node-name"]] = {one["name"]: not one.get("inconsistent") for one in named}
    return found


async def _kept_bitmaps(image: Image) -> Bitmaps:
    return dict((await QemuImg().info(image)).bitmaps)


def _action(verb: str, **data: object) -> dict[str, object]:
    return {"type": f"block-dirty-bitmap-{verb}", "data": data}
