"""Random schedules of migrations between two simulated clouds, with everything that can go wrong.

Calls are lost on the way there or back, processes die at any boundary of any step, or hang and wake up when
another one has taken over, people cancel and decide, bits flip in the copy, guests are ill. After every call:
never both running, never both lost. In the end, with what a person would do: one runs, its data is whole,
nothing is left behind. A failure names its seed; play it again with ``Schedule(SEED, path)``.
"""

from pathlib import Path

import pytest
from tests.simulation.playing import play
from tests.simulation.schedule import Schedule

BATCH = 50
BATCHES = 6  # 300 schedules: 4 s of one core
SOAK_BATCHES = 1000


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_one_runs_and_nothing_is_left_whatever_goes_wrong(batch: int, tmp_path: Path):
    await play(Schedule, range(batch * BATCH, (batch + 1) * BATCH), tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(BATCHES, SOAK_BATCHES))
async def test_many_more_schedules_end_well(batch: int, tmp_path: Path):
    await play(Schedule, range(batch * BATCH, (batch + 1) * BATCH), tmp_path)
