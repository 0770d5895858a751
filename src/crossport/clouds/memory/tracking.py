"""How the simulated cloud knows what changed: by what its disks held at a mark, block by block.

A mark that is asked for again at a later moment counts as lost: a block may have been changed and changed
back meanwhile, which a comparison does not see.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from crossport.clouds.memory.store import Store
from crossport.model.artifact import Artifact, Export, Marks, Role
from crossport.model.locator import file_locator, file_of
from crossport.model.record import record

__all__ = ["forget_marks", "tracked"]

BLOCK = 4096
KIND = "marks"


@record()
class _Mark:
    """What the disks of a VM held: the digests of their blocks, by artifact. Lost, it tells nothing."""

    run: str
    vm: str
    name: str
    disks: dict[str, tuple[str, ...]]
    lost: bool = False


def tracked(store: Store, run: str, export: Export, marks: Marks) -> Export:
    """Return ``export`` with references that tell what changed since ``marks.since``; set ``marks.mark``."""
    since = store.find(KIND, _key(run, export.vm.id, marks.since), _Mark) if marks.since else None
    held = {one.name: tuple(_digests(_path(one))) for one in export.artifacts if one.role is Role.DISK}
    if marks.mark:
        _set(store, _Mark(run=run, vm=export.vm.id, name=marks.mark, disks=held))
    forget_marks(store, run, export.vm.id, keep=(marks.since, marks.mark))
    return replace(
        export,
        artifacts=tuple(
            _with_changes(one, since, held[one.name]) if one.name in held else one for one in export.artifacts
        ),
    )


def forget_marks(store: Store, run: str, vm_id: str, *, keep: tuple[str, ...] = ()) -> None:
    """Forget the run's marks of the VM but those named."""
    for mark in store.every(KIND, _Mark):
        if (mark.run, mark.vm) == (run, vm_id) and mark.name not in keep:
            store.drop(KIND, _key(run, vm_id, mark.name))


def _set(store: Store, mark: _Mark) -> None:
    key = _key(mark.run, mark.vm, mark.name)
    known = store.find(KIND, key, _Mark)
    if known is None:
        store.put(KIND, key, mark)
    elif known.disks != mark.disks:
        store.put(KIND, key, replace(known, lost=True))


def _with_changes(artifact: Artifact, since: _Mark | None, held: tuple[str, ...]) -> Artifact:
    if since is None or since.lost or len(since.disks.get(artifact.name, ())) != len(held):
        return artifact
    changed = tuple(_changed(since.disks[artifact.name], held, artifact.ref.size))
    locator = file_locator(artifact.ref.locator, changed)
    return replace(artifact, ref=replace(artifact.ref, locator=locator))


def _changed(before: tuple[str, ...], now: tuple[str, ...], size: int) -> Iterator[tuple[int, int]]:
    for number, (old, new) in enumerate(zip(before, now, strict=True)):
        if old != new:
            start = number * BLOCK
            yield start, min(BLOCK, size - start)


def _path(artifact: Artifact) -> Path:
    return Path(file_of(artifact.ref.locator)[0])


def _key(run: str, vm_id: str, name: str) -> str:
    return f"{run}-{vm_id}-{name}"


def _digests(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield hashlib.blake2b(block, digest_size=8).hexdigest()
