"""A person at a real terminal presses Ctrl-C while a run is watched."""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.serve.scene import MOVE, Scene
from tests.lab.serve.terminal import Terminal

HELD = (*MOVE, "--hook", "before:image_upload:hold")


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    """Two clouds that are connected, and runs that wait before they upload until they may go on."""
    with Scene(tmp_path) as one:
        one.connect()
        yield one


def test_without_a_terminal_an_interrupt_detaches(scene: Scene):
    command = scene.machine.start(*HELD, **scene.more)
    scene.machine.wait(scene.reached.exists)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=20)
    assert "crossport run watch " in told
    assert command.returncode == 130


def test_a_terminal_shows_phases_rate_and_report(scene: Scene):
    terminal = Terminal(scene.machine, *MOVE, **scene.more)
    shown = terminal.until("crossport source retire")
    assert "image_upload" in shown
    assert "Estimate against actual" in shown
    assert "\x1b[32m" in shown
    assert terminal.end() == 0
