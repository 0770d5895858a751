"""What changed since a mark: QEMU's own dirty bitmap, of a real storage daemon, read by our NBD client."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from crossport.hypervisor import nbd
from crossport.hypervisor.qmp import Monitor, monitor
from crossport.model.artifact import Extent
from crossport.testing.conformance.block import noise
from crossport.testing.unix_socket import wait_until_it_listens

MIB = 1 << 20
SIZE = 16 * MIB
GRANULARITY = 65536
NODE: dict[str, object] = {"node": "disk", "name": "mark"}


class Daemon:
    """A running qemu-storage-daemon that exports one empty qcow2 disk for writing."""

    def __init__(self, directory: Path) -> None:
        self._control = directory / "control.sock"
        self._nbd = directory / "nbd.sock"

    def start(self, image: Path) -> subprocess.Popen[bytes]:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), str(SIZE)], check=True)
        file = {"driver": "file", "filename": str(image), "node-name": "file"}
        disk = {"driver": "qcow2", "file": "file", "node-name": "disk"}
        daemon = subprocess.Popen(
            [
                "qemu-storage-daemon",
                *("--chardev", f"socket,id=control,path={self._control},server=on,wait=off"),
                *("--monitor", "chardev=control"),
                *("--blockdev", json.dumps(file), "--blockdev", json.dumps(disk)),
                *("--nbd-server", f"addr.type=unix,addr.path={self._nbd}"),
                *("--export", "type=nbd,id=writing,node-name=disk,name=disk,writable=on"),
            ]
        )
        wait_until_it_listens(self._nbd)
        return daemon

    def told(self, *commands: tuple[str, dict[str, object]]) -> None:
        """Run these commands at its monitor."""

        async def all_of_them() -> None:
            async with monitor(self._control) as steer:
                await _each(steer, commands)

        asyncio.run(all_of_them())

    def export_changes(self, **more: object) -> None:
        """Export the disk once more, with its bitmap."""
        bitmaps: dict[str, object] = {"type": "nbd", "id": "reading", "node-name": "disk", "name": "changes"}
        bitmaps |= {"bitmaps": ["mark"], **more}
        self.told(("block-dirty-bitmap-disable", NODE), ("block-export-add", bitmaps))

    def opened(self, query: str, *, writable: bool = False) -> nbd.NbdDisk:
        return nbd.open_disk(f"unix:{self._nbd}?{query}", writable=writable, timeout_s=10)


async def _each(steer: Monitor, commands: tuple[tuple[str, dict[str, object]], ...]) -> None:
    for command, arguments in commands:
        await steer.execute(command, arguments)


@pytest.fixture
def daemon(tmp_path: Path) -> Generator[Daemon]:
    made = Daemon(tmp_path)
    running = made.start(tmp_path / "disk.qcow2")
    yield made
    running.terminate()
    running.wait()


def test_exactly_what_was_written_since_the_mark_has_changed(daemon: Daemon) -> None:
    writer = daemon.opened("export=disk", writable=True)
    writer.write(0, noise(2 * MIB))
    writer.write(5 * MIB, noise(MIB))
    writer.flush()
    daemon.told(("block-dirty-bitmap-add", {**NODE, "granularity": GRANULARITY}))
    writer.write(MIB, b"one byte more than nothing")
    writer.zero(5 * MIB, MIB)
    writer.write(SIZE - 1, b"x")
    writer.flush()
    writer.close()
    daemon.export_changes()
    reader = daemon.opened("export=changes&bitmap=mark")
    assert reader.tracks_changes
    extents = list(reader.extents(0, SIZE))
    assert sum(extent.size for extent in extents) == SIZE
    assert joined(extents, lambda extent: extent.changed) == [
        (MIB, MIB + GRANULARITY),
        (5 * MIB, 6 * MIB),
        (SIZE - GRANULARITY, SIZE),
    ]
    assert joined(extents, lambda extent: not extent.zero) == [(0, 2 * MIB), (SIZE - GRANULARITY, SIZE)]
    part = list(reader.extents(MIB + 10, 2 * GRANULARITY))
    assert part == [
        Extent(MIB + 10, GRANULARITY - 10),
        Extent(MIB + GRANULARITY, GRANULARITY + 10, changed=False),
    ]
    reader.close()


def test_without_the_bitmap_everything_has_changed(daemon: Daemon) -> None:
    daemon.told(("block-dirty-bitmap-add", NODE))
    daemon.export_changes()
    for query in ("export=changes", "export=changes&bitmap=another", "export=disk&bitmap=mark"):
        reader = daemon.opened(query)
        assert not reader.tracks_changes
        assert all(extent.changed for extent in reader.extents(0, SIZE))
        reader.close()


def test_a_bitmap_that_is_still_counting_is_told_as_it_stands(daemon: Daemon) -> None:
    """While the guest writes, the export has to be writable: QEMU serves no moving bitmap otherwise."""
    daemon.told(("block-dirty-bitmap-add", {**NODE, "granularity": GRANULARITY}))
    export = {"type": "nbd", "id": "moving", "node-name": "disk", "name": "moving"}
    daemon.told(("block-export-add", {**export, "bitmaps": ["mark"], "writable": True}))
    reader, writer = daemon.opened("export=moving&bitmap=mark"), daemon.opened("export=disk", writable=True)
    assert not any(extent.changed for extent in reader.extents(0, SIZE))
    writer.write(3 * MIB, b"x")
    writer.flush()
    assert joined(list(reader.extents(0, SIZE)), lambda extent: extent.changed) == [
        (3 * MIB, 3 * MIB + GRANULARITY)
    ]
    writer.close()
    reader.close()


def joined(extents: list[Extent], chosen: Callable[[Extent], bool]) -> list[tuple[int, int]]:
    """Return start and end of the ranges that are chosen, neighbours as one."""
    ranges = list[tuple[int, int]]()
    for extent in filter(chosen, extents):
        first = ranges.pop()[0] if ranges and ranges[-1][1] == extent.start else extent.start
        ranges.append((first, extent.start + extent.size))
    return ranges
