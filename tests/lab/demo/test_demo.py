"""The demonstration as a newcomer gets it: the real command, clouds and guest, and nothing left behind.

As root with enforced networks, otherwise with user-mode networks. One run serves all tests of this file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.lab.demo.secrets_used import Processes, lying, secret, shown, used_by

from crossport.cli.demo.play import guest_cache
from crossport.clouds.local.network import leftovers
from crossport.model.keyring import KeyRole
from crossport.model.run import PHASES

pytestmark = [pytest.mark.qemu]

COMMAND = (sys.executable, "-m", "crossport.app", "demo")
AT_MOST_S = 240.0
"""Twice what the demonstration may take on two cores without KVM, since other tests run beside this one."""
CLEAN_S = 60
CLAIMS = {"answers", "data", "network", "security_group", "flavor", "key", "identity", "source_kept"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    place = tmp_path_factory.mktemp("home")
    yield place
    subprocess.run([*COMMAND, "--clean", "--home", place], check=True, timeout=CLEAN_S)


def played(home: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Play the demonstration; return how it ended and its facts."""
    file = home / "facts.json"
    words = [*COMMAND, *options, "--home", str(home), "--facts", str(file)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended, json.loads(file.read_text())


@pytest.fixture(scope="module")
def processes() -> Processes:
    """What was seen of processes while the demonstration ran."""
    return Processes()


@pytest.fixture(scope="module")
def demo(home: Path, processes: Processes) -> tuple[str, dict[str, Any], float]:
    began = time.monotonic()
    with processes:
        ended, facts = played(home)
    return ended.stdout, facts, time.monotonic() - began


def test_the_guest_answers_at_the_target_with_its_data(demo: tuple[str, dict[str, Any], float]) -> None:
    _, facts, _ = demo
    assert facts["guest_answered"]
    assert facts["data_intact"]
    assert facts["proof"] == dict.fromkeys(CLAIMS, True)
    assert (facts["outcome"], facts["mode"]) == ("done", "cold")


def test_the_facts_tell_the_eight_phases_and_the_bytes(demo: tuple[str, dict[str, Any], float]) -> None:
    _, facts, _ = demo
    assert {phase["name"] for phase in facts["phases"]} == set(PHASES)
    assert all(phase["seconds"] >= 0 and phase["started"] > 0 for phase in facts["phases"])
    assert facts["total_seconds"] > max(phase["seconds"] for phase in facts["phases"])
    assert min(facts["bytes_read"], facts["bytes_sent"], facts["bytes_written"]) > 24 << 20


def test_the_outage_is_what_somebody_outside_saw(demo: tuple[str, dict[str, Any], float]) -> None:
    _, facts, _ = demo
    # The guest is shut down, copied and booted in between, and the run does little else.
    assert 1.0 < facts["outage_s"] < facts["total_seconds"] + 5.0


def test_the_mapping_that_was_applied_is_told(demo: tuple[str, dict[str, Any], float]) -> None:
    _, facts, _ = demo
    applied = {choice["construct"]: (choice["source"], choice["target"]) for choice in facts["mapping"]}
    assert applied["network"] == ("office", "dmz")
    assert applied["security_group"] == ("web-in", "http-server")
    assert applied["key"] == ("anna-2025", "anna")
    assert applied["flavor"] == ("small", "c1.small")
    assert "mapping.address.changes" in {finding["code"] for finding in facts["findings"]}


def test_networks_are_enforced_exactly_for_root(demo: tuple[str, dict[str, Any], float]) -> None:
    _, facts, _ = demo
    assert facts["world"]["network"] == ("enforced" if os.geteuid() == 0 else "user")
    assert bool(facts["world"]["not_enforced"]) == (os.geteuid() != 0)


def test_it_does_not_take_long(demo: tuple[str, dict[str, Any], float]) -> None:
    assert demo[2] < AT_MOST_S


def test_the_person_is_told_what_to_try_next(demo: tuple[str, dict[str, Any], float], home: Path) -> None:
    text, facts, _ = demo
    _, _, end = text.partition("Try next")
    assert f"export CROSSPORT_HOME={home}/demo" in end
    assert f"crossport run report {facts['run']}" in end
    again = [sys.executable, "-m", "crossport.app", "run", "report", facts["run"], "--json"]
    report = subprocess.run(
        again,
        env={**os.environ, "CROSSPORT_HOME": f"{home}/demo"},
        capture_output=True,
        check=True,
        timeout=CLEAN_S,
    )
    assert json.loads(report.stdout)["outcome"] == "done"


def test_no_secret_is_seen_anywhere_but_in_its_own_file(
    demo: tuple[str, dict[str, Any], float], home: Path, processes: Processes, tmp_path: Path
) -> None:
    """All files, databases, disks and logs that it left, what its processes were called, what it answers."""
    state = home / "demo"

    def run(*words: str) -> bytes:
        command = [sys.executable, "-m", "crossport.app", *words]
        env = {**os.environ, "CROSSPORT_HOME": str(state)}
        return subprocess.run(command, env=env, capture_output=True, check=True, timeout=CLEAN_S).stdout

    with processes:
        token = json.loads(run("token", "create", "seen", "--role", "viewer", "--json"))["secret"]
        answers = [
            run("run", "show", demo[1]["run"], "--json"),
            run("run", "report", demo[1]["run"], "--json"),
        ]
        answers += [
            run("cloud", "list", "--json"),
            run("token", "list", "--json"),
            run("key", "list", "--json"),
        ]
        answers.append(described(state / "control" / "socket", token))
    used = [*used_by(state), secret("created token", token.encode())]
    named = {one.name for one in used}
    assert {"master key", "approvals secret", "token of alpha", "token of beta", "token of control"} <= named
    assert len([name for name in named if name.startswith("private key")]) >= 1 + len(KeyRole)
    assert shown(used, b"\0".join(processes.seen)) == []
    assert shown(used, b"\0".join((*answers, demo[0].encode()))) == []
    assert lying(used, home, tmp_path / "patterns") == []


def described(socket: Path, token: str) -> bytes:
    """Return the API's description of itself."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=CLEAN_S) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return client.get("http://site/v1/openapi.json", headers=headers).raise_for_status().content


def test_ctrl_c_leaves_nothing_that_clean_does_not_find(
    demo: tuple[str, dict[str, Any], float], home: Path
) -> None:
    """Play once more, which resets; interrupt while the guest boots; clean; look for everything."""
    words = [*COMMAND, "--home", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, bufsize=1) as playing:
        assert playing.stdout is not None
        for line in playing.stdout:
            if "vm create" in line:
                break
        playing.send_signal(signal.SIGINT)
        rest = playing.stdout.read()
        assert playing.wait(30) == 6
    assert "crossport demo --clean" in rest
    cleaned = subprocess.run(
        [*words, "--clean"], capture_output=True, text=True, check=True, timeout=CLEAN_S
    ).stdout
    assert "cloud alpha" in cleaned
    assert "cloud beta" in cleaned
    assert "server process" in cleaned
    assert not (home / "demo").exists()
    assert processes_with(f"{home}/demo") == []
    assert leftovers(f"{home}/demo/clouds") == ()
    assert guest_cache(os.environ).exists()


def processes_with(text: str) -> list[str]:
    """Return the command lines of running processes that contain ``text``."""
    lines: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has just ended
    return [line for line in lines if text in line]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_chaos_shows_resumption_refusal_and_rollback(home: Path) -> None:
    _, facts = played(home, "--chaos")
    assert facts["guest_answered"]
    assert facts["data_intact"]
    assert [(act["outcome"], act["code"], act["good"]) for act in facts["chaos"]] == [
        ("done", "", True),
        ("rolled-back", "image.digest.mismatch", True),
        ("rolled-back", "check.failed", True),
    ]
