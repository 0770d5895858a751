"""What goes wrong around a run: the source vanishes, the clock jumps, a person presses Ctrl-C."""

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.serve.scene import MOVE, Scene
from tests.lab.serve.terminal import Terminal

DAY_S = 86400
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    with Scene(tmp_path) as one:
        yield one


def test_a_source_that_vanishes_for_a_while_is_waited_for_and_the_run_goes_on(scene: Scene):
    scene.connect()
    run = scene.moving()
    (scene.root / "alpha").rename(scene.root / "gone")
    scene.go.touch()
    told = scene.machine.start("run", "watch", run, **scene.more)
    time.sleep(3)
    (scene.root / "gone").rename(scene.root / "alpha")
    out, complaint = told.communicate(timeout=60)
    assert told.returncode == 0, out + complaint
    assert scene.machine.said("step.retry")
    assert scene.source() == ("stopped", True)


def fake_time(scene: Scene) -> dict[str, str]:
    """Return an environment in which the wall clock of all processes is as far off as the file clock says.

    Confined workers get no environment, so that a bubblewrap of our own hands it to them.
    """
    clock = scene.root / "clock"
    clock.write_text("+0")
    clock.chmod(0o644)
    faked = {"LD_PRELOAD": FAKETIME, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    wrapper = scene.root / "bin" / "bwrap"
    wrapper.parent.mkdir()
    inside = " ".join(f"{name}={value}" for name, value in faked.items())
    # Options end at the first --; behind the last one is the tool itself, no longer as root.
    wrapper.write_text(
        "#!/bin/bash\n"
        "unset LD_PRELOAD FAKETIME_SHARED\n"
        'words=("$@"); first=\n'
        'for n in "${!words[@]}"; do [ "${words[n]}" != -- ] || { first=${first:-$n}; last=$n; }; done\n'
        'exec /usr/bin/bwrap "${words[@]:0:first}" --perms 1777 --tmpfs /dev/shm '
        f'--ro-bind {clock} /clock "${{words[@]:first:last+1-first}}" '
        f'env {inside} FAKETIME_TIMESTAMP_FILE=/clock "${{words[@]:last+1}}"\n'
    )
    wrapper.chmod(0o755)
    # libfaketime takes the absolute time until which Python's sleep waits for one of the wall clock.
    (scene.root / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
    )
    faked |= {"NO_FAKE_STAT": "1", "PYTHONPATH": str(scene.root)}
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    return {**scene.more, **faked, "FAKETIME_TIMESTAMP_FILE": str(clock), "PATH": path}


def test_a_clock_that_jumps_back_and_ahead_by_a_day_harms_no_run(scene: Scene):
    scene.more = fake_time(scene)
    clock = scene.root / "clock"
    clock.write_text("+1d")  # the site and its authority are made while the clock is ahead
    began = time.monotonic()
    scene.connect()
    run = scene.moving("--commit", "manual")
    clock.write_text("+0")
    scene.go.touch()
    scene.run("run", "watch", run)
    clock.write_text("+1d")
    scene.run("run", "commit", run)
    scene.run("run", "watch", run)
    report = scene.answered("run", "report", run)
    passed = time.monotonic() - began
    assert report["outcome"] == "done"
    seconds = [phase["seconds"] for phase in report["phases"]]
    assert min(seconds) >= 0
    assert sum(seconds) <= passed
    assert 0 <= report["total_seconds"] <= passed
    assert 0 <= (report["outage_s"] or 0) <= passed


def pressed(scene: Scene, *words: str, answer: str) -> str:
    """Press Ctrl-C at a terminal that shows a held run, answer, and return the run that was told."""
    terminal = Terminal(scene.machine, *words, **scene.more)
    scene.machine.wait(scene.reached.exists)
    terminal.until("image_creation")
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type(answer + "\n")
    shown = terminal.until("crossport run cancel") if answer == "d" else terminal.until("cancelled")
    assert terminal.end() == (0 if answer == "d" else 6)
    return shown


@pytest.mark.parametrize("command", ["migrate", "watch"])
def test_detaching_at_a_terminal_leaves_a_durable_run_alone(scene: Scene, command: str):
    scene.connect()
    words = (*MOVE, "--hook", "before:image_upload:hold")
    if command == "watch":
        words = ("run", "watch", scene.moving())
    pressed(scene, *words, answer="d")
    scene.go.touch()
    (run,) = scene.answered("run", "list")
    scene.run("run", "watch", run["id"])
    assert scene.source() == ("stopped", True)
