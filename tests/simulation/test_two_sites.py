"""Random schedules of migrations between two sites, over a link that loses, repeats, forges and delays.

Each site has its own documents, ledger, keys and cloud, and may initiate. Besides all that goes wrong at one
site, either control plane dies before or after any change while it serves the other, messages come in a later
epoch or when all is over, answers are forged, and somebody tries to start the source. After every change of a
cloud: never both running, never both lost, never open without a permit. In the end: settled, one is the VM,
its data is whole, both ledgers are clean and nothing is reserved. A failure names its seed; play it again
with ``FarSchedule(SEED, path)``. What these schedules find when a promise is broken: see test_mutations.
"""

from pathlib import Path

import pytest
from tests.simulation.playing import play
from tests.simulation.two_sites import FarSchedule

BATCH = 100
BATCHES = 20  # 2,000 schedules: 45 s of one core
SOAK_BATCHES = 100
SEED_OF_MANY_FAULTS = 33


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_one_of_two_sites_has_the_vm_whatever_goes_wrong(batch: int, tmp_path: Path):
    await play(FarSchedule, range(batch * BATCH, (batch + 1) * BATCH), tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(BATCHES, SOAK_BATCHES))
async def test_many_more_schedules_of_two_sites_end_well(batch: int, tmp_path: Path):
    await play(FarSchedule, range(batch * BATCH, (batch + 1) * BATCH), tmp_path)


async def test_a_seed_tells_the_same_story_again(tmp_path: Path):
    stories = [await story(SEED_OF_MANY_FAULTS, tmp_path / str(time)) for time in range(2)]
    assert stories[0] == stories[1]
    assert {"dies", "late", "lost"} <= {word for line in stories[0] for word in line.split()}


async def story(seed: int, root: Path) -> list[str]:
    schedule = FarSchedule(seed, root)
    await schedule.play()
    return schedule.fate.story
