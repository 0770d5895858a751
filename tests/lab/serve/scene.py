"""Two simulated clouds, a site for them, and runs that wait until they may go on."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Self

from tests.lab.serve.test_life import Machine

from crossport.clouds.memory import MemoryCloud
from crossport.model.run import Act
from crossport.testing.world import ALPHA, BETA, web_vm

MOVE = ("migrate", "web", "--from", "alpha", "--to", "beta")
# Says that it is reached, then waits until it may go on.
HOLD = """
import pathlib, sys, time
reached, go = map(pathlib.Path, sys.argv[1:])
reached.touch()
for _ in range(1200):
    if go.exists():
        break
    time.sleep(0.05)
"""


class Scene:
    """A durable site with two simulated clouds and the hooks vanish and hold."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine = Machine(root / "home")
        self.reached, self.go = root / "reached", root / "go"
        hold = [sys.executable, "-I", "-c", HOLD, str(self.reached), str(self.go)]
        vanish = ["/bin/mv", str(root / "alpha"), str(root / "gone")]
        settings = root / "settings.toml"
        settings.write_text(
            "".join(
                f"[hooks.{name}]\ncommand = {json.dumps(words)}\n"
                for name, words in (("hold", hold), ("vanish", vanish))
            )
        )
        self.more = {"CROSSPORT_SETTINGS": str(settings)}
        alpha, beta = MemoryCloud("alpha", root / "alpha"), MemoryCloud("beta", root / "beta")
        alpha.found(ALPHA)
        beta.found(BETA)
        asyncio.run(alpha.create_vm(Act(run="web", step="create", epoch=1), web_vm(), "boot and data"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go what is held, and end the servers."""
        self.go.touch()
        self.machine.end()

    def connect(self) -> None:
        for name in ("alpha", "beta"):
            self.run("cloud", "add", name, "memory", "--set", f"path={self.root / name}")

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command that must end with ``status``; return what it wrote."""
        got, out, told = self.machine.run(*words, **self.more)
        assert got == status, out + told
        return out + told

    def answered(self, *words: str) -> Any:
        status, out, told = self.machine.run(*words, "--json", **self.more)
        assert status == 0, told
        return json.loads(out)

    def moving(self, *words: str) -> str:
        """Start a migration that is held; return its run once it is held."""
        run = self.answered(*MOVE, "--hook", "before:image_upload:hold", "--detach", *words)["id"]
        self.machine.wait(self.reached.exists)
        return run

    def source(self) -> tuple[str, bool]:
        (vm,) = self.answered("vm", "list", "alpha")
        return vm["power"], vm["fenced"]
