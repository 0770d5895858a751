"""How long the appliance may take: what it was allowed last counts."""

import subprocess
import time
from collections.abc import Generator

import pytest

from crossport.inspector.machine import Limit


@pytest.fixture
def process() -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as started:
        yield started
        started.kill()


def test_what_takes_longer_than_its_time_is_ended(process: subprocess.Popen[bytes]):
    limit = Limit(process, 0.05)
    assert limit.over.wait(30)
    assert process.wait(30) < 0


def test_what_was_allowed_more_goes_on_and_is_ended_after_that(process: subprocess.Popen[bytes]):
    limit = Limit(process, 0.5)
    limit.allow(600)
    time.sleep(1)
    assert (process.poll(), limit.over.is_set()) == (None, False)
    limit.allow(0.05)
    assert limit.over.wait(30)
    assert process.wait(30) < 0


def test_what_ended_in_time_is_not_ended_late(process: subprocess.Popen[bytes]):
    limit = Limit(process, 0.2)
    limit.cancel()
    time.sleep(0.5)
    assert (process.poll(), limit.over.is_set()) == (None, False)
