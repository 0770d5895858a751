"""Playing schedules one after the other; a failure names its seed and its story."""

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.simulation.schedule import Schedule

__all__ = ["play"]

HANGS_S = 120.0
"""A schedule takes milliseconds, but many seconds where each write to the disk does."""


async def play(kind: type[Schedule], seeds: Iterable[int], root: Path) -> None:
    """Play each seed in a directory of its own below ``root``."""
    for seed in seeds:
        schedule = kind(seed, root / str(seed))
        try:
            async with asyncio.timeout(HANGS_S):
                await schedule.play()
        except BaseException as error:
            error.add_note(f"seed {seed}: " + "; ".join(schedule.fate.story))
            raise
        shutil.rmtree(root / str(seed))
