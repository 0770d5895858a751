"""A guest that means ill: at its console, in the files that its programs write, in the logs that it fills."""

import asyncio
import os
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from crossport import errors
from crossport.clouds.local import CloudSpec, console, create, shell
from crossport.clouds.local.installation import Installation, plain_file
from crossport.clouds.local.ownership import open_installation
from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import Guest
from crossport.hypervisor import qmp, unix_socket
from crossport.model.vm import VM
from crossport.spi.secret import Secret

NONCE = "0123456789abcdef"


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Installation]:
    create(tmp_path / "alpha", CloudSpec(name="alpha", network="user", console_size=1000), Secret("0" * 16))
    cloud = open_installation(Layout(tmp_path / "alpha"))
    yield cloud
    cloud.state.close()


def guest(cloud: Installation, number: int, **changes: object) -> Guest:
    """Keep a guest that nobody runs, in a directory of its own."""
    vm = VM(
        id=f"vm-{number}", name="web", project="", zone="", flavor="tiny", cpus=1, memory=0, nics=(), disks=()
    )
    one = Guest(vm=vm, uid=cloud.new_uid(), **changes)  # type: ignore[arg-type]
    cloud.state.put(vm.id, one)
    cloud.layout.vm(vm.id).mkdir(exist_ok=True)
    return one


async def printed(answer: bytes, path: Path) -> shell.Typed:
    """Type a command at a console that shows a prompt and prints ``answer`` when something was typed."""
    with unix_socket.listening(path) as listener:
        typing = asyncio.ensure_future(shell.typed(path, "true", nonce=NONCE))
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        link, _ = await loop.sock_accept(listener)
        with link:
            await loop.sock_sendall(link, b"# ")
            await loop.sock_recv(link, 1)
            while b"echo" not in await loop.sock_recv(link, 4096):
                pass
            await loop.sock_sendall(link, answer)
            return await typing


async def test_a_console_that_prints_beginnings_without_end_holds_nobody_up(tmp_path: Path):
    mark = f"CROSSPORT-{NONCE}\n".encode()
    began = time.process_time()
    found = await printed(mark * (250_000 // len(mark)) + b"x\nCROSSPORT-3-" + NONCE.encode(), tmp_path / "c")
    assert (found.status, found.output.endswith("x\n")) == (3, True)
    assert time.process_time() - began < 5  # it was half a minute, in which the whole cloud stood still


async def test_what_a_command_printed_is_told_without_what_stood_around_it(tmp_path: Path):
    answer = f"echo CROSSPORT-''{NONCE}\r\nCROSSPORT-{NONCE}\r\none\r\ntwo\r\nCROSSPORT-0-{NONCE}\r\n# "
    assert await printed(answer.encode(), tmp_path / "c") == shell.Typed(status=0, output="one\ntwo\n")


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_is_none_is_not_followed_nor_given_away(cloud: Installation, tmp_path: Path, kind: str):
    canary, trap = tmp_path / "canary", tmp_path / "trap"
    canary.write_text("secret")
    canary.chmod(0o644)
    trap.symlink_to(canary) if kind == "link" else os.mkfifo(trap)
    with pytest.raises(errors.Refused, match=r"cloud\.file\.foreign"):
        cloud.own(trap, 12345)
    with pytest.raises(errors.Refused, match=r"cloud\.file\.foreign"), plain_file(trap):
        pass
    facts = canary.stat()
    assert (facts.st_uid, facts.st_mode & 0o777) == (os.geteuid(), 0o644)


def test_every_log_that_a_guest_can_make_grow_is_bounded(cloud: Installation):
    one = guest(cloud, 1, console_start=4000)
    folder = cloud.layout.vm(one.vm.id)
    for name in ("console.log", "qemu.log", "tpm.log"):
        (folder / name).write_bytes(b"CROSSPORT-GUEST-UP of the boot before ".ljust(4500, b".") + b"the end")
    console.trim(cloud, one)
    for name in ("console.log", "qemu.log", "tpm.log"):
        log = folder / name
        assert (log.stat().st_size, log.read_bytes().endswith(b"the end")) == (1000, True)


def test_a_log_that_is_cut_does_not_show_an_earlier_boot_as_this_one(cloud: Installation):
    one = guest(cloud, 1, console_start=2900)
    log = cloud.layout.vm(one.vm.id) / "console.log"
    log.write_bytes(b"x" * 2500 + b"CROSSPORT-GUEST-UP".ljust(400) + b"booting".ljust(100))
    console.trim(cloud, one)
    one = cloud.guest(one.vm.id)
    assert b"CROSSPORT-GUEST-UP" in log.read_bytes()
    assert not console.has_reported(cloud, one)
    assert console.tail(cloud, one, 1000, this_boot=True).strip() == "booting"


def test_a_user_is_not_given_to_a_second_vm_when_the_numbers_begin_anew(cloud: Installation):
    if not cloud.as_root:
        assert cloud.new_uid() == os.getuid()
        return
    first = guest(cloud, 1)
    cloud.state.remember("uid", str(int(cloud.state.fact("uid")) + 60_000 - 1))
    assert guest(cloud, 2).uid != first.uid


class Nonsense(QMPClient):
    """A QEMU that its guest has taken over."""

    def __init__(self, answer: object) -> None:
        super().__init__("nonsense")
        self.answer = answer

    async def execute(
        self, cmd: str, arguments: Mapping[str, object] | None = None, oob: bool = False
    ) -> object:
        del cmd, arguments, oob
        return self.answer


@pytest.mark.parametrize("answer", [[], {"other": 1}, None, "running"])
async def test_a_qemu_that_answers_nonsense_is_told_and_breaks_nobody(answer: object):
    with pytest.raises(errors.Broken, match=r"hypervisor\.qmp\.malformed"):
        await qmp.Monitor(Nonsense(answer)).ask("query-status", "running")
