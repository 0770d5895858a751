"""A person at a real terminal presses Ctrl-C in what takes long: nothing half done is left."""

import asyncio
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds
from tests.lab.serve.scene import MOVE, Scene
from tests.lab.serve.terminal import Terminal

from crossport.clouds.local import destroy
from crossport.units import MIB

PLAN = "{version: 1, name: shop, source: alpha, target: beta, approval: true, vms: [{vm: web}]}\n"


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    with Scene(tmp_path) as one:
        yield one


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A disk that no machine reads before a person can press a key."""
    disk = tmp_path / "large.raw"
    block = os.urandom(MIB)
    with disk.open("wb") as file:
        for _ in range(256):
            file.write(block)
    return disk


def interrupted(scene: Scene, *words: str, shown: str) -> str:
    """Press Ctrl-C when ``shown`` is there; return what was shown after it, to the end of the command."""
    terminal = Terminal(scene.machine, *words, **scene.more)
    terminal.until(shown)
    terminal.type("\x03")
    assert terminal.end() == 130, terminal.text
    return terminal.text


def test_a_conversion_leaves_no_file(scene: Scene, large: Path):
    folder = scene.root / "made"
    folder.mkdir()
    words = ("image", "convert", str(large), str(folder / "large.qcow2"), "--to", "qcow2")
    assert "Interrupted" in interrupted(scene, *words, shown="convert:")
    assert list(folder.iterdir()) == []


def test_an_upload_leaves_no_image_and_can_be_made_again(scene: Scene, large: Path):
    small = scene.root / "small.raw"
    small.write_bytes(bytes(512))
    place = scene.root / "lab"
    try:
        asyncio.run(clouds.prepared(place, small, network="user"))
        scene.run("cloud", "add", "lab", "local", "--set", f"path={place}")
        words = ("image", "upload", str(large), "--cloud", "lab", "--name", "large")
        assert "Interrupted" in interrupted(scene, *words, shown="upload:")
        scene.machine.wait(lambda: len(list((place / "images").iterdir())) == 1)
        assert [image["name"] for image in scene.answered("image", "list", "lab")] == [clouds.IMAGE]
        scene.run("image", "upload", str(small), "--cloud", "lab", "--name", "large")
    finally:
        scene.machine.end()
        asyncio.run(destroy(place))


def cancelled(terminal: Terminal) -> None:
    """Press Ctrl-C and choose to cancel what is shown."""
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("c\n")
    terminal.until("cancelled")
    assert terminal.end() == 6


def test_a_test_migration_is_taken_back_whole(scene: Scene):
    scene.connect()
    words = (*MOVE, "--test", "--hook", "before:image_upload:hold")
    terminal = Terminal(scene.machine, *words, **scene.more)
    scene.machine.wait(scene.reached.exists)
    terminal.until("image_creation")
    cancelled(terminal)
    assert scene.source() == ("running", False)
    assert scene.answered("vm", "list", "beta") == []


def test_a_plan_is_cancelled_with_the_runs_that_it_began(scene: Scene):
    scene.connect()
    plan = scene.root / "shop.yaml"
    plan.write_text(PLAN)
    terminal = Terminal(scene.machine, "plan", "run", str(plan), **scene.more)
    scene.machine.wait(lambda: "waiting" in [run["state"] for run in scene.answered("run", "list")])
    cancelled(terminal)
    scene.machine.wait(lambda: {run["state"] for run in scene.answered("run", "list")} == {"cancelled"})
    assert scene.source() == ("running", False)
    assert scene.answered("vm", "list", "beta") == []


def test_who_asks_for_a_change_and_does_not_wait_is_told_that_it_may_be_made(scene: Scene):
    scene.connect()
    words = ("vm", "create", "alpha", "new", "--image", "boot", "--flavor", "small", "--network", "app")
    words += ("--group", "web")
    os.kill(scene.machine.owner(), signal.SIGSTOP)
    try:
        told = interrupted(scene, *words, shown="at work for")
    finally:
        os.kill(scene.machine.owner(), signal.SIGCONT)
    assert "The site may do it all the same" in told
