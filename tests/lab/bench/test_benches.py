"""The benches run: on the smallest guest, with few runs. Whether the figures are good is not judged here."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crossport.model.run import PHASES

ROOT = Path(__file__).resolve().parents[3]


def measured(bench: str, tmp_path: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run a bench; return its facts and what it printed."""
    file = tmp_path / "facts.json"
    command = [sys.executable, str(ROOT / "bench" / bench), *options, "--facts", str(file)]
    # Not below tmp_path: guests run as users of their own, and a socket's path has 107 bytes.
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


@pytest.mark.qemu
@pytest.mark.root
def test_both_ways_are_measured_in_the_same_phases(tmp_path: Path):
    facts, page = measured("phases.py", tmp_path, "--small")
    [guest] = facts["guests"].values()
    ours, theirs = guest["median"]["crossport"], guest["median"]["earlier"]
    assert set(ours["phases"]) == set(theirs["phases"]) == set(PHASES)
    for way in (ours, theirs):
        assert way["total_s"] - way["boot_s"] > 0
        assert way["link_bytes"] > 10_000_000
    assert theirs["phases"]["image_download"] > 0
    assert ours["bytes_sent"] < guest["used_bytes"]
    assert "measured" in guest["runs"]["crossport"][0]["estimate_basis"]
    assert all(f"| {phase} |" in page for phase in PHASES)


@pytest.mark.soak
@pytest.mark.qemu
@pytest.mark.root
def test_the_outage_of_a_warm_migration_is_measured_beside_a_restart(tmp_path: Path):
    facts, page = measured("warm.py", tmp_path, "--small")
    restart, moved = facts["rounds"]
    assert restart["outage_s"] > 1
    assert moved["outage_s"] > 1
    assert moved["verified"] == "at rest"
    assert [one["what"] for one in moved["syncs"]][:2] == ["first", "delta"]
    assert "| warm, rest |" in page


@pytest.mark.soak
@pytest.mark.qemu
@pytest.mark.root
def test_what_crossport_itself_costs_is_measured(tmp_path: Path):
    facts, page = measured("overhead.py", tmp_path, "--quick")
    assert facts["queued"]["states"] == ["done"]
    assert 0 < facts["own"]["own_s"] < facts["own"]["wall_s"]
    assert facts["server"]["idle_pss"] < 200_000_000
    assert facts["help"]["cpu_s"] < 0.3
    assert facts["engine"]["step_ms"] > 0
    assert "| goal |" in page


@pytest.mark.soak
@pytest.mark.qemu
@pytest.mark.root
def test_what_security_costs_is_measured(tmp_path: Path):
    facts, page = measured("security.py", tmp_path, "--quick")
    sealed, unsealed = (facts["moves"]["rows"][way] for way in ("sealed", "unsealed"))
    assert len(sealed) == len(unsealed) == 1
    assert 0 < sealed[0]["seal_s"] + sealed[0]["admit_s"] < sealed[0]["work_s"]
    assert unsealed[0]["seal_s"] == unsealed[0]["admit_s"] == 0
    log = facts["log"]
    assert log["write"]["peak_rss_bytes"] > 10_000_000
    assert log["verify"]["wall_s"] > log["verify"]["hashes_s"] > 0
    assert "| of it to seal, and to admit |" in page


@pytest.mark.root
def test_every_tool_copies_the_same_disk_over_the_same_link(tmp_path: Path):
    facts, page = measured("transfer.py", tmp_path, "--small")
    rows = {row["tool"]: row for row in facts["rows"]}
    assert {"crossport", "nbdcopy", "nbdcopy, TLS", "qcow2 with zstd, nc", "rsync -z"} <= set(rows)
    for row in rows.values():
        assert row["link_mbit"] == 1000
        assert row["seconds"] > 0
        assert row["wire_bytes"] > 5_000_000
        assert row["peak_rss_bytes"] > 1_000_000
    ours = rows["crossport"]
    assert ours["wire_bytes"] < rows["nbdcopy"]["wire_bytes"]
    assert 0 < ours["copy_seconds"] < ours["seconds"]
    assert ours["disk"]["data_bytes"] > ours["disk"]["zstd1_bytes"] > 5_000_000
    assert "| crossport |" in page


@pytest.mark.soak
@pytest.mark.root
def test_long_links_changing_links_and_many_disks_are_measured(tmp_path: Path):
    facts, page = measured("transfer.py", tmp_path, "--small", "--links", "--change", "--second", "--many")
    ours, plain = facts["links"]["rows"]
    assert (ours["tool"], ours["round_trip_ms"], ours["loss"]) == ("crossport", 50, 0.001)
    assert ours["wire_bytes"] * 8 / ours["copy_seconds"] < 100e6
    assert plain["wire_bytes"] > 1_000_000
    [change] = facts["change"]["rows"]
    assert change["before_mbit"] < change["link_mbit"]
    assert 0 < change["then_mbit"] < change["link_mbit"] * 1.1
    _, second, anew, made, _, at_once = facts["second"]["rows"]
    assert made["wire_bytes"] < 1.3 * made["lacking_packed_bytes"] + 65536
    assert second["wire_bytes"] < 1.3 * second["lacking_packed_bytes"]
    assert anew["wire_bytes"] < anew["shared_bytes"] // 10
    assert at_once["wire_bytes"] < 2 * at_once["lacking_packed_bytes"]
    for crowd in facts["many"]["rows"]:
        assert crowd["seconds"] >= crowd["slowest_s"] >= crowd["fastest_s"] > 0
        assert min(crowd["own_rss_bytes"]) > 1_000_000
    assert page.count("crossport |") == 1


@pytest.mark.root
def test_a_bench_that_is_interrupted_leaves_no_process_and_no_namespace(tmp_path: Path):
    code = (
        "import pathlib; from dataclasses import replace\n"
        "from link import *; from mix import *; from turns import *\n"
        "with joined() as ends:\n"
        "    print(ends.target, flush=True)\n"
        f"    turns = Turns(pathlib.Path({str(tmp_path)!r}), 1, ('nbdcopy',))\n"
        "    turns.rows(replace(MIXES['incompressible'], used=256 << 20), ends, 8)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "bench", stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        namespace = bench.stdout.readline().strip()
        while not (servers := [pid for pid in _inside(namespace) if _name(pid) == "qemu-nbd"]):
            assert bench.poll() is None
            time.sleep(0.05)
        bench.send_signal(signal.SIGINT)
        bench.wait()
    assert not Path("/run/netns", namespace).exists()
    assert not [pid for pid in servers if _name(pid)]


def _inside(namespace: str) -> list[str]:
    """Return the processes in a network namespace."""
    said = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return said.stdout.split()


def _name(pid: str) -> str:
    """Return the name of a process, nothing when it has ended."""
    try:
        words = Path("/proc", pid, "stat").read_text().split()
    except FileNotFoundError:
        return ""
    return "" if words[2] == "Z" else words[1].strip("()")


@pytest.mark.root
def test_a_target_that_differs_in_one_byte_does_not_count(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(1 << 20) + b"data" + bytes(1 << 20))
    target.write_bytes(source.read_bytes())
    code = f"import pathlib, mix; mix.same(pathlib.Path({str(source)!r}), pathlib.Path({str(target)!r}))"

    def compared() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "bench", check=False)

    assert compared().returncode == 0
    with target.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert compared().returncode == 1
    assert "not as the source" in compared().stderr
