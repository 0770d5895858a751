"""Keep a guest's file systems still while something is done, by way of its agent.

The freezer is a process of its own: whatever becomes of this one, the guest goes on.
"""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LONGEST_S", "Stillness", "held", "thaw"]

LONGEST_S = 10.0
"""A guest whose programs cannot write for longer than this is noticed by those who use it."""
_STUCK_S = 90.0


@dataclass(slots=True)
class Stillness:
    """How it went. ``kept`` is true behind the context when nothing was written within it; ``text`` says
    why not. ``thawed`` says that the guest certainly goes on.
    """

    kept: bool = False
    text: str = ""
    thawed: bool = True


@contextlib.asynccontextmanager
async def held(path: Path, longest_s: float = LONGEST_S) -> AsyncGenerator[Stillness]:
    """Freeze the file systems of the guest whose agent is asked at ``path`` while the context lasts.

    It is entered also when they cannot be frozen. After ``longest_s`` they are thawed in any case.
    """
    still, process, said = Stillness(), await _started(path, longest_s), dict[str, Any]()
    try:
        said = await _said(process)
        yield still
    finally:
        last = await asyncio.shield(asyncio.ensure_future(_ended(process))) or said
        still.thawed = last.get("event") in {"thawed", "none"} or await thaw(path)
        still.kept = bool(last.get("kept"))
        late = "" if still.kept else f"Its files were not still for as long as needed ({longest_s} s)."
        still.text = str(said.get("text", late))[:300]


async def thaw(path: Path) -> bool:
    """Let the guest go on behind a freezer that was killed; say whether it certainly does."""
    return (await _ended(await _started(path, 0.0))).get("event") == "thawed"


async def _started(path: Path, seconds: float) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-IB", "-m", "crossport.hypervisor.freezer", str(path), str(seconds)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )


async def _said(process: Process) -> dict[str, Any]:
    if process.stdout is None:
        raise RuntimeError("a freezer is started with a pipe")
    line = await process.stdout.readline()
    return json.loads(line) if line else {}


async def _ended(process: Process) -> dict[str, Any]:
    """Tell it to thaw; return the last thing it says, nothing when it was killed or hangs."""
    last: dict[str, Any] = {}
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STUCK_S):
            while said := await _said(process):
                last = said
            await process.wait()
    return last
