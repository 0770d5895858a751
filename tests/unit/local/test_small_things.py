"""Errors across the wire, sockets with long paths, daemons that are told apart from their successors."""

import asyncio
import dataclasses
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from crossport import errors
from crossport.clouds.local import wire
from crossport.clouds.local.installation import identity
from crossport.hypervisor import daemon, unix_socket
from crossport.hypervisor.confine import Confinement
from crossport.model import codec


def test_an_error_crosses_as_it_is():
    sent = errors.Blocked("cloud.quota.vms", "No room.", remedy="Make some.", field="vms")
    text = codec.encoded(wire.fault_of(sent))
    received = wire.error_of(codec.decoded(text, wire.Fault))
    assert type(received) is errors.Blocked
    assert str(received) == str(sent)


@pytest.mark.parametrize("kind", ["Error.mro", "Exception", "Action", ""])
def test_an_unknown_kind_of_error_is_broken(kind: str):
    assert type(wire.error_of(wire.Fault(kind=kind, code="x.y.z", text="?"))) is errors.Broken


def test_a_socket_may_lie_deeper_than_the_kernel_allows(tmp_path: Path):
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    assert len(str(folder)) > unix_socket.LONGEST_PATH
    with unix_socket.listening(folder / "socket"):
        assert (folder / "socket").stat().st_mode & 0o777 == 0o600
        unix_socket.connected(folder / "socket", timeout_s=5).close()


def test_two_tokens_make_two_clouds():
    assert identity("one") != identity("two")
    assert len(identity("one")) == 10


async def test_a_daemon_is_not_mistaken_for_another_process_of_its_number(tmp_path: Path):
    confinement = Confinement(uid=1_900_000_001, gid=1_900_000_001, outlives_parent=True)
    running = await daemon.start(["sleep", "60"], confinement, log=tmp_path / "log")
    assert daemon.alive(running)
    assert not daemon.alive(dataclasses.replace(running, started=running.started - 1))
    assert not daemon.alive(dataclasses.replace(running, boot="another"))
    await daemon.kill(running)
    assert not daemon.alive(running)
    await daemon.kill(running)


async def test_the_end_of_a_daemon_is_waited_for(tmp_path: Path):
    confinement = Confinement(uid=1_900_000_001, gid=1_900_000_001, outlives_parent=True)
    running = await daemon.start(["sleep", "60"], confinement, log=tmp_path / "log")
    assert not await daemon.ended(running, 0.01)
    end = asyncio.ensure_future(daemon.ended(running, 60))
    os.kill(running.pid, signal.SIGKILL)
    assert await end
    assert await daemon.ended(running, 0.01)


async def test_a_daemon_that_ends_before_anybody_looks_has_started_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    look = select.select

    def late(*args: Any) -> Any:
        told = look(*args)
        time.sleep(0.2)  # a busy machine
        return told

    monkeypatch.setattr(select, "select", late)
    confinement = Confinement(uid=1_900_000_001, gid=1_900_000_001, outlives_parent=True)
    running = await daemon.start(["true"], confinement, log=tmp_path / "log")
    assert await daemon.ended(running, 10)
    assert not daemon.alive(running)
    await daemon.kill(running)


def command_of(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_a_start_that_is_cancelled_leaves_nothing_behind(tmp_path: Path):
    confinement = Confinement(uid=1_900_000_001, gid=1_900_000_001, outlives_parent=True)
    task = asyncio.ensure_future(daemon.start(["sleep", "4321.5"], confinement, log=tmp_path / "log"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(200):
        if not [pid for pid in Path("/proc").glob("[0-9]*") if b"4321.5" in command_of(pid)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it sleeps on")


async def test_a_program_that_is_not_there_is_said(tmp_path: Path):
    confinement = Confinement(uid=1_900_000_001, gid=1_900_000_001)
    running = await daemon.start(["no-such-program"], confinement, log=tmp_path / "log")
    assert await daemon.ended(running, 10)
    assert "no-such-program" in daemon.last_line(tmp_path / "log")
