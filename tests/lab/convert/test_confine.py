"""A confined tool sees what it was given: real bubblewrap, as root and as nobody in particular.

What runs without root is started under another uid, since a test runner cannot change its own.
"""

import asyncio
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossport import errors
from crossport.hypervisor import confine
from crossport.hypervisor.confine import Confinement, Limits, command, run

ORDINARY = 12_345


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("canary")
    path.chmod(0o644)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_text("content")
    path.chmod(0o600)
    return path


async def test_a_tool_reads_the_file_it_was_given_and_not_its_neighbour(image: Path, secret: Path) -> None:
    done = await run(shell(f"cat {image}; cat {secret}"), Confinement(read=(image,)), timeout_s=20)
    assert done.stdout == b"content"
    assert "No such file" in done.stderr
    assert done.status != 0


async def test_a_file_to_read_cannot_be_written_and_a_file_to_write_can(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch(mode=0o600)
    confinement = Confinement(read=(image,), write=(target,))
    done = await run(shell(f"echo no > {image}; echo yes > {target}"), confinement, timeout_s=20)
    assert done.status == 0
    assert image.read_text() == "content"
    assert target.read_text() == "yes\n"


async def test_a_tool_has_no_network_no_environment_and_no_capabilities(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "canary")
    script = "env; cat /proc/net/dev; grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs)' /proc/self/status; ls /"
    text = (await run(shell(script), Confinement(read=(image,)), timeout_s=20)).stdout.decode()
    assert "canary" not in text
    assert "eth0" not in text
    assert "NoNewPrivs:\t1" in text
    assert text.count("0000000000000000") >= 2
    assert "root" not in text.splitlines()


@pytest.mark.root
async def test_root_lends_the_file_to_an_unprivileged_uid_and_takes_it_back(image: Path) -> None:
    script = f"id -u; id -G; cat {image}"
    done = await run(shell(script), Confinement(read=(image,)), timeout_s=20)
    assert done.stdout.decode().split() == [str(confine.NOBODY), str(confine.NOBODY), "content"]
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert os.listxattr(image) == []


@pytest.mark.root
async def test_two_runs_may_borrow_the_same_file_and_the_last_one_gives_it_back(image: Path) -> None:
    quick = run(shell(f"cat {image}"), Confinement(read=(image,)), timeout_s=20)
    slow = run(shell(f"sleep 1; cat {image}"), Confinement(read=(image,)), timeout_s=20)
    for done in await asyncio.gather(slow, quick):
        assert done.stdout == b"content"
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert os.listxattr(image) == []


async def test_a_tool_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    started = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        await run(
            shell(f"(sleep 2; echo alive > {mark}) & sleep 60"), Confinement(write=(mark,)), timeout_s=0.5
        )
    assert caught.value.code == "hypervisor.tool.timeout"
    assert time.monotonic() - started < 5
    await asyncio.sleep(2)
    assert mark.read_text() == ""


async def test_cancelling_kills_the_tool(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    task = asyncio.create_task(
        run(shell(f"sleep 1.5; echo alive > {mark}"), Confinement(write=(mark,)), timeout_s=60)
    )
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(1.5)
    assert mark.read_text() == ""


async def test_memory_file_size_and_cpu_are_limited(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    limits = Limits(address_space=256 << 20, file_size=1 << 20, cpu_s=1)
    confinement = Confinement(write=(target,), limits=limits)
    grown = await run(shell(f"head -c 2M /dev/zero > {target}"), confinement, timeout_s=20)
    assert grown.status != 0
    assert target.stat().st_size == 1 << 20
    burnt = await run(shell("while :; do :; done"), confinement, timeout_s=60)
    assert burnt.status != 0
    hungry = await run(["perl", "-e", "my $x = 'x' x (1 << 30)"], confinement, timeout_s=20)
    assert hungry.status != 0


async def test_output_is_passed_on_as_it_comes_and_errors_are_kept_within_a_bound(image: Path) -> None:
    pieces: list[bytes] = []
    script = "echo one; yes error | head -c 1M >&2; echo two"
    done = await run(shell(script), Confinement(read=(image,)), timeout_s=20, on_output=pieces.append)
    assert b"".join(pieces) == done.stdout == b"one\ntwo\n"
    assert len(done.stderr) == confine.MAX_STDERR


@pytest.mark.root
async def test_an_ordinary_user_is_confined_the_same_way(
    tmp_path: Path, secret: Path, open_to_all: Callable[[Path], None]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    own = work / "own"
    own.write_text("content")
    os.chown(own, ORDINARY, ORDINARY)
    line = command(
        shell(f"cat {own} {secret}; id -u; unshare --user true || echo no more user namespaces"),
        Confinement(read=(own,)),
        as_root=False,
    )
    open_to_all(tmp_path)
    switch = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups", "--"]
    process = await asyncio.create_subprocess_exec(*switch, *line, stdout=-1, stderr=-1)
    stdout, stderr = await process.communicate()
    assert stdout.decode() == f"content{ORDINARY}\nno more user namespaces\n"
    assert "No such file" in stderr.decode()


def test_a_confinement_refuses_relative_paths_the_root_and_uid_0() -> None:
    for path in (Path("image"), Path("/"), Path("/data/../etc")):
        with pytest.raises(ValueError, match="absolute"):
            Confinement(read=(path,))
    with pytest.raises(ValueError, match="root"):
        Confinement(uid=0)


def test_a_daemon_is_started_from_a_command_line_without_side_effects() -> None:
    confinement = Confinement(devices=(Path("/dev/kvm"),), outlives_parent=True, network=True, groups=(104,))
    line = command(["qemu"], confinement, as_root=True, info_fd=7)
    assert "--die-with-parent" not in line
    assert "--unshare-net" not in line
    assert line[line.index("--dev-bind") : line.index("--dev-bind") + 3] == [
        "--dev-bind",
        "/dev/kvm",
        "/dev/kvm",
    ]
    assert line[line.index("--info-fd") + 1] == "7"
    assert "--groups=104" in line
    assert line[-1] == "qemu"
    assert sys.executable not in line
