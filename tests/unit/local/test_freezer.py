"""The freezer, as a process, with agents that answer as they should, not at all, or nonsense."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from crossport.hypervisor import stillness, unix_socket

Answer = Callable[[str], object]


class Guest:
    """A guest's agent behind a socket that takes one client at a time, as QEMU's does."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.frozen = False
        self.asked: list[str] = []
        self._answer = answer or self.properly
        self._turn = asyncio.Lock()
        self.calls: set[asyncio.Task[None]] = set()
        self.thawed = asyncio.Event()

    def properly(self, command: str) -> object:
        match command:
            case "guest-fsfreeze-freeze":
                self.frozen, count = True, 0 if self.frozen else 2
                return {"return": count}
            case "guest-fsfreeze-thaw":
                self.frozen, count = False, 2 if self.frozen else 0
                self.thawed.set()
                return {"return": count}
            case _:
                return {"return": "frozen" if self.frozen else "thawed"}

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.add(asyncio.ensure_future(self._served(reader, writer)))

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            async with self._turn:
                while line := await reader.readline():
                    said = json.loads(line)
                    command = said["execute"]
                    self.asked.append(command)
                    answer: Any = self._answer(command)
                    if command == "guest-sync" and answer is not None:
                        answer = {"return": said["arguments"]["id"]}
                    if answer is not None:
                        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def agent(path: Path, guest: Guest) -> AsyncGenerator[Guest]:
    with unix_socket.listening(path) as listener:
        server = await asyncio.start_unix_server(guest.serve, sock=listener)
        try:
            yield guest
        finally:
            server.close()
            await asyncio.gather(*guest.calls)


async def test_a_guest_is_still_as_long_as_the_context_lasts(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest()) as guest:
        async with stillness.held(tmp_path / "agent") as still:
            assert guest.frozen
        assert not guest.frozen
    assert (still.kept, still.thawed, still.text) == (True, True, "")


async def test_without_an_agent_it_goes_on_and_says_why(tmp_path: Path):
    async with stillness.held(tmp_path / "agent") as still:
        pass
    assert (still.kept, still.thawed) == (False, True)
    assert "cannot be reached" in still.text


async def test_an_agent_that_says_nothing_is_never_asked_to_freeze(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest(lambda command: None)) as guest:
        async with stillness.held(tmp_path / "agent", longest_s=0.2) as still:
            pass
        assert guest.asked == ["guest-sync"]
    assert (still.kept, still.thawed) == (False, True)


async def test_an_agent_that_refuses_is_told_in_its_own_words(tmp_path: Path):
    guest = Guest()

    def refusing(command: str) -> object:
        if command == "guest-fsfreeze-freeze":
            return {"error": {"class": "GenericError", "desc": "a hook said no"}}
        return guest.properly(command)

    guest._answer = refusing  # pyright: ignore[reportPrivateUsage]
    async with agent(tmp_path / "agent", guest), stillness.held(tmp_path / "agent") as still:
        pass
    assert (still.kept, still.thawed) == (False, True)
    assert "a hook said no" in still.text


async def test_after_the_longest_time_it_is_thawed_and_not_called_still(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest()) as guest:
        async with stillness.held(tmp_path / "agent", longest_s=0.2) as still:
            async with asyncio.timeout(20):
                await guest.thawed.wait()
        assert not guest.frozen
    assert (still.kept, still.thawed) == (False, True)
    assert "0.2 s" in still.text


async def test_a_guest_that_was_thawed_by_another_was_not_still(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest()) as guest, stillness.held(tmp_path / "agent") as still:
        guest.frozen = False
    assert (still.kept, still.thawed) == (False, True)


HOLD = """
import asyncio, pathlib, sys
from crossport.hypervisor import stillness
async def hold():
    async with stillness.held(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(hold())
"""


async def test_when_its_starter_is_killed_the_guest_goes_on(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest()) as guest:
        starter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HOLD, str(tmp_path / "agent")), stdout=asyncio.subprocess.PIPE
        )
        assert starter.stdout is not None
        assert await starter.stdout.readline() == b"held\n"
        assert guest.frozen
        starter.kill()
        await starter.wait()
        async with asyncio.timeout(20):
            await guest.thawed.wait()


async def test_when_the_freezer_is_killed_its_starter_thaws(tmp_path: Path):
    async with agent(tmp_path / "agent", Guest()) as guest:
        before = _children()
        async with stillness.held(tmp_path / "agent") as still:
            (freezer,) = _children() - before
            os.kill(freezer, signal.SIGKILL)
        assert not guest.frozen
    assert (still.kept, still.thawed) == (False, True)


def _children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(map(int, path.read_text().split()))


@pytest.mark.parametrize("nonsense", [[], 7, {"return": "many"}, {"return": None}, {"error": 1}])
async def test_an_agent_that_talks_nonsense_harms_nobody(tmp_path: Path, nonsense: object):
    guest = Guest()

    def odd(command: str) -> object:
        return nonsense if command == "guest-fsfreeze-freeze" else guest.properly(command)

    guest._answer = odd  # pyright: ignore[reportPrivateUsage]
    async with agent(tmp_path / "agent", guest), stillness.held(tmp_path / "agent", longest_s=0.3) as still:
        pass
    assert not still.kept
    assert still.thawed
