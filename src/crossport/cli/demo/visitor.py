"""Send somebody outside (``outside``) to the guests, and learn what they saw."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator
from typing import Any, Self

from crossport import errors
from crossport.model import codec
from crossport.model.record import record
from crossport.testing.guest.client import GuestState

__all__ = ["Sightings", "Visitor", "Watcher"]

ANSWER_S = 330.0
"""The longest thing asked for, filling a disk, is given up by its own end after 300 s."""
STATE_S = 60.0
"""The guest reads everything that is stored to answer, under software emulation."""
LINE_SIZE = 1 << 20


@record()
class Sightings:
    """When a guest's first and last answer came, in monotonic seconds (0 for never), and how many came."""

    first: float = 0.0
    last: float = 0.0
    count: int = 0


class _Program:
    """A running ``outside``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, work: str, namespace: str) -> Self:
        """Start the program where the clouds meet; an empty ``namespace`` is this machine's own."""
        prefix = ("nsenter", f"--net=/run/netns/{namespace}", "--") if namespace else ()
        process = await asyncio.create_subprocess_exec(
            *(*prefix, sys.executable, "-m", f"{__package__}.outside", work),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_SIZE,
            # Ctrl-C is for the demonstration; this one ends when its input does.
            process_group=0,
        )
        return cls(process)

    async def told(self, line: str) -> None:
        """Write a line to it."""
        if self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def heard(self) -> dict[str, Any]:
        """Return the next line; raise Broken when there is none."""
        stdout = self._process.stdout
        line = await asyncio.wait_for(stdout.readline(), ANSWER_S) if stdout is not None else b""
        if not line:
            raise errors.Broken(
                "demo.outside.ended",
                "The process that looks at the guests has ended.",
                remedy="Run the demo again; crossport doctor says what this machine lacks.",
            )
        return json.loads(line)

    def end_input(self) -> None:
        """Let it come to its end."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """See to it that it is gone."""
        self.end_input()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.shield(self._process.wait())


class Visitor:
    """Asks one thing after the other."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def sent(cls, namespace: str) -> AsyncGenerator[Self]:
        """Send a visitor, and call them back at the end."""
        program = await _Program.started("ask", namespace)
        try:
            yield cls(program)
        finally:
            await program.end()

    async def state(self, url: str, timeout_s: float = STATE_S) -> GuestState:
        """Return what the guest says of itself; raise Unavailable when it does not answer."""
        said = await self._ask("state", url, timeout_s=timeout_s)
        return codec.decoded(json.dumps(said), GuestState)

    async def answering(self, url: str, within_s: float) -> GuestState:
        """Return what the guest says as soon as it does; raise Unavailable when it is silent ``within_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            # The guest tells nobody that it is up.
            if await self._ask("well", url) or loop.time() > deadline:
                return await self.state(url)
            await asyncio.sleep(0.2)

    async def store(self, url: str, name: str, text: str) -> str:
        """Keep ``text`` on the guest's disk; return its SHA-256 there."""
        return await self._ask("store", url, name=name, text=text)

    async def fill(self, url: str, name: str, mib: int) -> str:
        """Let the guest write random data; return their SHA-256."""
        return await self._ask("fill", url, name=name, mib=mib)

    async def fetch(self, url: str, name: str) -> str:
        """Return what is stored under ``name``."""
        return await self._ask("fetch", url, name=name)

    async def accepts(self, url: str, port: int) -> str:
        """Say whether the guest's port is ``open``, ``refused`` or ``silent``."""
        return await self._ask("accepts", url, port=port)

    async def _ask(self, what: str, url: str, **more: object) -> Any:
        async with self._one_at_a_time:
            await self._program.told(json.dumps({"ask": what, "url": url, **more}))
            said = await self._program.heard()
        if "result" in said:
            return said["result"]
        kind = errors.Unavailable if said["code"] == "guest.answer.missing" else errors.Broken
        raise kind(said["code"], said["text"])


class Watcher:
    """Asks one address all the time. Started before the address is known, so that no time is lost then."""

    def __init__(self, program: _Program) -> None:
        self._program = program

    @classmethod
    @contextlib.asynccontextmanager
    async def posted(cls, namespace: str) -> AsyncGenerator[Self]:
        """Post a watcher, and call them off at the end."""
        program = await _Program.started("watch", namespace)
        try:
            yield cls(program)
        finally:
            await program.end()

    async def watch(self, url: str) -> None:
        """Begin; return when the first question is about to be asked."""
        await self._program.told(url)
        await self._program.heard()

    async def relieved(self) -> Sightings:
        """End the watch and return what was seen."""
        self._program.end_input()
        return codec.decoded(json.dumps(await self._program.heard()), Sightings)
