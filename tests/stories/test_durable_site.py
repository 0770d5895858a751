"""The whole way of a customer: commands, a server of its own, the durable engine, simulated clouds."""

import asyncio
import dataclasses
import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.serve.terminal import Terminal
from tests.lab.serve.test_life import Machine

from crossport.clouds.memory import MemoryCloud
from crossport.model.run import PHASES, Act
from crossport.testing.world import ALPHA, BETA, web_vm


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    """A machine whose site is connected to two simulated clouds, with the VM web in alpha."""
    one = Machine(tmp_path / "home")
    alpha, beta = MemoryCloud("alpha", tmp_path / "alpha"), MemoryCloud("beta", tmp_path / "beta")
    alpha.found(ALPHA)
    beta.found(BETA)
    asyncio.run(alpha.create_vm(Act(run="web", step="create", epoch=1), web_vm(), "boot and data"))
    for name in ("alpha", "beta"):
        status, _, told = one.run("cloud", "add", name, "memory", "--set", f"path={tmp_path / name}")
        assert status == 0, told
    yield one
    one.end()


def answered(machine: Machine, *words: str) -> Any:
    """Run a command with --json; return what it printed."""
    status, out, told = machine.run(*words, "--json")
    assert status == 0, told
    return json.loads(out)


def test_a_vm_is_judged_moved_reported_and_its_source_retired(machine: Machine):
    move = ("migrate", "web", "--from", "alpha", "--to", "beta", "--check", "http:80:/")
    assert answered(machine, "assess", "--from", "alpha", "--to", "beta")["vms"][0]["verdict"] == "go"
    dry = answered(machine, *move, "--dry-run")
    targets = {choice["construct"]: choice["target"] for choice in dry["mapping"]["choices"]}
    assert targets["network"] == "frontend"

    report = answered(machine, *move)
    assert (report["outcome"], report["verified"]) == ("done", "at rest")
    assert [phase["name"] for phase in report["phases"]] == sorted(
        (phase["name"] for phase in report["phases"]), key=PHASES.index
    )
    run = report["run"]

    (source,) = answered(machine, "vm", "list", "alpha")
    (target,) = answered(machine, "vm", "list", "beta")
    assert (source["power"], source["fenced"], target["power"]) == ("stopped", True, "running")
    assert machine.run("vm", "start", "alpha", "web")[0] != 0

    assert answered(machine, "source", "retire", run, "--yes")["done"] is True
    assert answered(machine, "vm", "list", "alpha") == []


def test_a_plan_is_detached_from_and_its_run_cancelled_at_a_terminal(machine: Machine, tmp_path: Path):
    cloud = MemoryCloud("alpha", tmp_path / "alpha")
    # At the target it never becomes well: its run is under way for as long as the check may take.
    ill = dataclasses.replace(web_vm(guest_health="bad-elsewhere"), name="ill", nics=())
    asyncio.run(cloud.create_vm(Act(run="ill", step="create", epoch=1), ill, "boot and data"))
    plan = {"name": "shop", "source": "alpha", "target": "beta", "vms": [{"vm": "ill"}]}
    plan |= {"checks": {"probes": [{"kind": "console", "expect": "well"}], "timeout_s": 60.0}}
    (tmp_path / "shop.json").write_text(json.dumps(plan))
    terminal = Terminal(machine, "plan", "run", str(tmp_path / "shop.json"))
    terminal.until("running")
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("d\n")
    terminal.until("goes on at the site")
    assert terminal.end() == 0

    def child() -> str:
        return answered(machine, "plan", "status", "shop")["vms"][0]["run"]

    machine.wait(child)
    stream = machine.start("run", "watch", child(), "--json")
    assert stream.stdout
    assert "state" in json.loads(stream.stdout.readline())
    stream.send_signal(signal.SIGINT)
    _, told = stream.communicate(timeout=20)
    assert (stream.returncode, f"crossport run watch {child()}" in told) == (130, True)
    terminal = Terminal(machine, "run", "watch", child())
    terminal.until("instantiation")
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("c\n")
    terminal.until("cancelled")
    assert terminal.end() == 6
    assert answered(machine, "vm", "show", "alpha", "ill")["power"] == "running"


def test_a_person_rolls_back_and_the_source_runs_again(machine: Machine):
    words = ("migrate", "web", "--from", "alpha", "--to", "beta", "--commit", "manual")
    status, told, _ = machine.run(*words)
    run = told.split()[1].rstrip(":")
    assert (status, f"crossport run commit {run}" in told) == (0, True)
    assert machine.run("run", "rollback", run)[0] == 0
    assert machine.run("run", "watch", run)[0] == 4
    (source,) = answered(machine, "vm", "list", "alpha")
    assert (source["power"], source["fenced"]) == ("running", False)
    assert answered(machine, "vm", "list", "beta") == []
