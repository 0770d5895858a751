"""Run ``crossport`` commands as the person would, on the demonstration's own site.

What is shown is what is run: the same words, in a process of its own, on the same terminal.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TextIO, TypeVar

from crossport import errors
from crossport.cli.demo.voice import Voice
from crossport.model import codec

__all__ = ["Commands"]

T = TypeVar("T")

QUIET_S = 120.0
END_S = 5.0
LINE_SIZE = 4 << 20


class Commands:
    """``environment`` is the person's; the site is the one of ``home``, with the ``settings`` file there."""

    def __init__(
        self, home: Path, settings: Path, environment: Mapping[str, str], out: TextIO, voice: Voice
    ) -> None:
        chosen = {"CROSSPORT_HOME": str(home), "CROSSPORT_SETTINGS": str(settings)}
        other = {name: value for name, value in environment.items() if not name.startswith("CROSSPORT_")}
        self._environment = other | chosen
        self._out = out
        self._voice = voice

    async def show(self, *words: str) -> int:
        """Show the command, run it before the person's eyes, and return its exit status."""
        self._voice.command(("crossport", *words))
        self._out.flush()
        async with self._running(words, output=self._output()) as process:
            return await process.wait()

    async def need(self, *words: str) -> None:
        """Do as ``show`` does; raise Broken when the command fails."""
        status = await self.show(*words)
        if status:
            raise errors.Broken(
                "demo.command.failed",
                f"`crossport {' '.join(words)}` ended with status {status}.",
                remedy="What it said is above.",
            )

    @contextlib.asynccontextmanager
    async def shown(self, *words: str) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Show the command and let it run while the block does; end it when it still runs then."""
        self._voice.command(("crossport", *words))
        self._out.flush()
        async with self._running(words, output=self._output()) as process:
            yield process

    async def ask(self, kind: type[T], *words: str) -> T:
        """Run a command that the person does not see, and return its result. Raise Broken when it fails."""
        async with self._running((*words, "--json"), output=asyncio.subprocess.PIPE) as process:
            async with asyncio.timeout(QUIET_S):
                said, complaint = await process.communicate()
        if process.returncode:
            raise errors.Broken(
                "demo.command.failed",
                f"`crossport {' '.join(words)}` ended with status {process.returncode}: "
                f"{(complaint or b'').decode(errors='replace').strip()[-400:]}",
                remedy="Do what the command says, then run the demo again.",
            )
        return codec.decoded(said, kind)

    def _output(self) -> int:
        try:
            return self._out.fileno()
        except OSError:  # a test's text buffer
            return sys.stdout.fileno()

    @contextlib.asynccontextmanager
    async def _running(
        self, words: tuple[str, ...], *, output: int
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        quiet = output == asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crossport.app", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.PIPE if quiet else None,
            env=self._environment,
            limit=LINE_SIZE,
            # Ctrl-C is for the demonstration alone: it ends what it has started.
            process_group=0,
        )
        try:
            yield process
        finally:
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End the process kindly (one that watches a run lets go of it), then not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await asyncio.shield(process.wait())
