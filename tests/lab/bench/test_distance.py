"""The long link of the benches is as long and loses as much as it says; what TCP carries over it is whole.

Datagrams and streams cross it, both ways; times are bounded from below, since a busy machine adds to them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from crossport.testing.conformance.block import noise

pytestmark = [pytest.mark.root]
BENCH = Path(__file__).resolve().parents[3] / "bench"


def said(code: str) -> list[str]:
    """Run a program between two ends of a link; return the lines that it prints."""
    whole = f"from link import *\nfrom plain import *\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", whole], cwd=BENCH, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_datagram_takes_the_time_of_the_distance_and_none_is_lost_without_losses():
    """Of a probe that a busy machine held up another one is made."""
    probes = said(
        "with joined(Distance(50)) as ends:\n"
        "    for _ in range(20):\n"
        "        found = probed(ends, 300)\n"
        "        print(found.quickest_s, found.lost)\n"
        "        if found.quickest_s < 0.1: break"
    )
    quickest, lost = zip(*(map(float, line.split()) for line in probes), strict=True)
    assert 0.05 <= min(quickest) < 0.1
    assert set(lost) == {0}


def test_the_share_that_is_lost_is_as_said_in_both_directions():
    [lost] = said("with joined(Distance(4, 0.05)) as ends: print(probed(ends, 4000).lost)")
    assert 0.075 < float(lost) < 0.12  # 1 - 0.95², give or take five standard deviations


def test_what_a_stream_carries_is_whole_although_segments_are_lost_in_large_packets(tmp_path: Path):
    (tmp_path / "content").write_bytes(noise(8 << 20))
    take, give = f"nc -l %s 7 > {tmp_path}/came", f"until nc -N %s 7 < {tmp_path}/content; do :; done"
    [repeated] = said(
        "import subprocess\n"
        "def inside(name, line): return ['ip', 'netns', 'exec', name, 'sh', '-c', line % TARGET]\n"
        "with joined(Distance(4, 0.01)) as ends:\n"
        f"    taker = subprocess.Popen(inside(ends.target, {take!r}))\n"
        f"    subprocess.run(inside(ends.source, {give!r}), check=True, stderr=subprocess.DEVNULL)\n"
        "    taker.wait()\n"
        "    counts = ['ip', 'netns', 'exec', ends.source, 'grep', 'Tcp:', '/proc/net/snmp']\n"
        "    told = subprocess.run(counts, capture_output=True, text=True, check=True).stdout\n"
        "    print(told.splitlines()[1].split()[12])"
    )
    assert (tmp_path / "came").read_bytes() == (tmp_path / "content").read_bytes()
    assert int(repeated) > 20  # of 5800 segments 58 are lost


def test_many_streams_fill_a_link_of_which_a_segment_in_a_thousand_is_lost():
    [rate] = said(
        "with joined(Distance(20, 0.001)) as ends:\n    ends.limit(50)\n    print(streamed(ends, 8, 3.0) * 8)"
    )
    assert 10e6 < float(rate) < 50e6


def test_a_link_that_is_left_leaves_nothing_and_the_next_bench_removes_what_a_killed_one_left():
    code = "import os, signal\nwith joined(Distance(10)) as ends: print(ends.source, flush=True); {}"
    done = subprocess.run(
        [sys.executable, "-c", "from link import *\n" + code.format("os.kill(os.getpid(), signal.SIGKILL)")],
        cwd=BENCH, capture_output=True, text=True, check=False,
    )  # fmt: skip
    killed = done.stdout.strip()
    assert killed in _namespaces()
    [left] = said(code.format("pass"))
    assert not {killed, left} & _namespaces()


def _namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}
