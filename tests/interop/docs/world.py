"""The world in which a page runs: a home of its own, two simulated clouds, and the installed program."""

import asyncio
import dataclasses
import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.interop.docs.page import File, parts
from tests.interop.oidc.provider import running
from tests.lab.serve.test_life import Machine, alive

from crossport.clouds.local import destroy
from crossport.clouds.memory import MemoryCloud
from crossport.model.run import Act
from crossport.testing.world import ALPHA, BETA, web_vm

ROOT = Path(__file__).resolve().parents[3]
PLACE = "/srv"
"""What stands in the pages for the directory in which they run."""
ISSUER = "https://login.acme.example"
"""What stands in the pages for an identity provider, where a page signs in there."""


class PageWorld:
    """Run a page's commands in ``folder``. The clouds alpha and beta are there when the page needs them."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        files = [part for part in parts(page) if isinstance(part, File)]
        for file in files:
            self.put(file)
        settings = folder / "settings.toml"
        self.more = {"CROSSPORT_SETTINGS": str(settings)} if settings.exists() else {}
        self._held = ExitStack()
        self._real = {PLACE: str(folder)}
        if re.search(r"^\$ crossport login", page, re.MULTILINE):
            self._real[ISSUER] = self._held.enter_context(running()).issuer
            self.more["CROSSPORT_EGRESS"] = "127.0.0.0/8"
        self.machine = Machine(folder / "home")
        self.names: dict[str, str] = {}
        if re.search(r"--from alpha|vm \w+ alpha|cloud list|enroll alpha", page):
            self._found()

    def put(self, file: File) -> None:
        """Write a file that the page shows."""
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content.replace(PLACE, str(self.folder)))

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command by the shell; return its exit status and the lines it printed."""
        for shown, real in {**self._real, **self.names}.items():
            command = command.replace(shown, real)
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.machine.environment(PATH=path, COLUMNS="200", **self.more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        printed = done.stdout
        for shown, real in self._real.items():
            printed = printed.replace(real, shown)
        return done.returncode, printed.splitlines()

    def end(self) -> None:
        """End the server, the clouds and every process that a page left behind."""
        self.machine.end()
        self._held.close()
        for state in self.folder.glob("home/clouds/*/*/state.db"):
            asyncio.run(destroy(state.parent))
        for pid in self.folder.glob("*.pid"):
            if alive(int(pid.read_text())):
                os.kill(int(pid.read_text()), signal.SIGTERM)

    def _found(self) -> None:
        places = self.folder / "clouds"
        alpha, beta = MemoryCloud("alpha", places / "alpha"), MemoryCloud("beta", places / "beta")
        alpha.found(ALPHA)
        beta.found(BETA)
        asyncio.run(_fill(alpha))
        for name in ("alpha", "beta"):
            status, told = self.run(f"crossport cloud add {name} memory --set path={places / name}")
            assert status == 0, told


async def _fill(cloud: MemoryCloud) -> None:
    """Make the VMs web, db and cache, and legacy, whose guest is well at the source only."""
    for number, name in enumerate(("web", "db", "cache", "legacy")):
        vm = web_vm(**({"guest_health": "bad-elsewhere"} if name == "legacy" else {}))
        nic = dataclasses.replace(
            vm.nics[0], mac=f"52:54:00:00:00:0{number + 1}", addresses=(f"10.10.0.{number + 5}/24",)
        )
        vm = dataclasses.replace(vm, name=name, nics=(nic,), instance_id=f"i-{number}")
        await cloud.create_vm(Act(run=name, step="create", epoch=1), vm, "boot and data")
