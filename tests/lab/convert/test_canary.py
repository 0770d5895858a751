"""With the inspector switched off, confined tools still cannot read a file of the host: real qemu-img and
attacks.

qemu-img is called as carelessly as possible: no format stated, backing files and extents followed. Its
output and everything it prints must be free of the canary. That the attacks do work is shown by the same
call without confinement, which does leak.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossport.hypervisor.confine import Confinement, command, run
from crossport.testing.hostile import ATTACKS

CANARY = b"canary-of-the-host".ljust(512, b"!") * 2048
ORDINARY = 12_345
LEAKING = [
    "qcow2-backing-file",
    "qcow2-backing-file-as-json",
    "vmdk-flat-host-file",
    "vmdk-padded-to-4096",
    "vmdk-padded-to-1048576",
    "vmdk-sparse-without-capacity",
]
DANGEROUS = [name for name in ATTACKS if name.startswith(("qcow2-", "vmdk-")) or "parent" in name]
TARGETS = ("raw", "qcow2")


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file of the host that every uid may read; outside /tmp, which the confinement hides in any case."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        path = Path(name) / "canary"
        path.write_bytes(CANARY)
        path.chmod(0o644)
        path.parent.chmod(0o755)
        yield path


def careless(source: Path, target: Path, kind: str = "raw") -> list[str]:
    return ["qemu-img", "convert", "-O", kind, str(source), str(target)]


def leaked(target: Path) -> bool:
    return target.exists() and b"canary-of-the-host" in target.read_bytes()


@pytest.mark.parametrize("name", LEAKING)
def test_the_attack_works_on_a_tool_that_is_not_confined(name: str, canary: Path, tmp_path: Path) -> None:
    source, target = ATTACKS[name].write(tmp_path, canary), tmp_path / "out"
    subprocess.run(careless(source, target), check=False, capture_output=True)
    assert leaked(target)


@pytest.mark.parametrize("kind", TARGETS)
async def test_no_attack_reads_the_canary_through_a_confined_tool(
    kind: str, canary: Path, tmp_path: Path
) -> None:
    tried = 0
    for name in DANGEROUS:
        source, target = ATTACKS[name].write(tmp_path, canary), tmp_path / f"{name}.out"
        source.chmod(0o600)
        target.touch(mode=0o600)
        confinement = Confinement(read=(source,), write=(target,))
        done = await run(careless(source, target, kind), confinement, timeout_s=30)
        assert done.stderr.startswith("qemu-img") or done.status == 0, (name, done.stderr)
        assert not leaked(target), name
        assert b"canary-of-the-host" not in done.stdout + done.stderr.encode(), name
        target.unlink()
        tried += 1
    assert tried > 30


@pytest.mark.root
async def test_no_attack_reads_the_canary_when_an_ordinary_user_runs_the_tool(
    canary: Path, tmp_path: Path, open_to_all: Callable[[Path], None]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    os.chown(work, ORDINARY, ORDINARY)
    open_to_all(tmp_path)
    for name in LEAKING:
        source, target = ATTACKS[name].write(work, canary), work / f"{name}.out"
        target.touch()
        for path in (source, target):
            os.chown(path, ORDINARY, ORDINARY)
        line = command(careless(source, target), Confinement(read=(source,), write=(target,)), as_root=False)
        switch = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups", "--"]
        process = await asyncio.create_subprocess_exec(*switch, *line, stdout=-1, stderr=-1)
        _, stderr = await process.communicate()
        assert not leaked(target), name
        assert b"No such file" in stderr or process.returncode == 0, (name, stderr)
