"""What a worker is told after its job: it obeys what makes sense, and ends where its starter makes none."""

import subprocess
import sys

import pytest

# The part of a worker that listens, for as long as a copy would take.
LISTENS = """
import threading, time
from crossport.transfer import worker
threading.Thread(target=worker._Orders(worker._Voice()).follow, daemon=True).start()
time.sleep(60)
"""
ORPHANED = 75


@pytest.mark.parametrize(
    "said",
    [b"no JSON\n", b"[]\n", b"{}\n", b'{"do": "rate"}\n', b'{"do": "rate", "bps": "fast"}\n', b""],
    ids=["no-json", "list", "empty", "no-rate", "no-number", "the-end"],
)
def test_a_worker_whose_starter_makes_no_sense_ends(said: bytes) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LISTENS], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        assert worker.stdin is not None
        worker.stdin.write(b'{"do": "rate", "bps": 1000}\n{"do": "rate", "bps": null}\n' + said)
        if said:
            worker.stdin.flush()
        else:
            worker.stdin.close()
        assert worker.wait(30) == ORPHANED
