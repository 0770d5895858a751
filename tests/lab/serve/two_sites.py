"""Two sites of two owners: two state directories, two servers, a real link; and a simulated cloud each."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tests.lab.serve.scene import HOLD
from tests.lab.serve.test_life import PROGRAM, Machine

from crossport.clouds.memory import MemoryCloud
from crossport.model.run import Act
from crossport.model.vm import VM, PowerState
from crossport.testing.world import ALPHA, BETA, web_vm

__all__ = ["Owner", "TwoOwners", "trusted"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Owner:
    """One site, which is its own server."""

    def __init__(self, root: Path, name: str, hooks: str) -> None:
        self.name = name
        self.machine = Machine(root / name)
        self.settings = root / f"{name}.toml"
        self.port = free_port()
        self.settings.write_text(f'site_name = "{name}"\npartner_listen = "127.0.0.1:{self.port}"\n{hooks}')
        self.server: subprocess.Popen[str] | None = None

    def serve(self, **more: str) -> None:
        """Start the server, with ``more`` in its environment; return when it answers."""
        environment = self.machine.environment(CROSSPORT_SETTINGS=str(self.settings), **more)
        with self.settings.with_suffix(".log").open("ab") as log:  # a pipe that nobody reads would stop it
            self.server = subprocess.Popen(
                [*PROGRAM, "serve"], env=environment, stdout=log, stderr=log, text=True
            )
        self.machine.started.append(self.server)
        self.machine.wait((self.machine.control / "socket").exists, 60)

    def kill(self) -> None:
        """End the server as a power cut does."""
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait(20)

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command that must end with ``status``; return what it wrote."""
        got, out, told = self.machine.run(*words, CROSSPORT_SETTINGS=str(self.settings))
        assert got == status, out + told
        return out + told

    def answered(self, *words: str) -> Any:
        """Return what a command answers in JSON."""
        got, out, told = self.machine.run(*words, "--json", CROSSPORT_SETTINGS=str(self.settings))
        assert got == 0, out + told
        return json.loads(out)

    def watch(self, run: str) -> str:
        """Return what a person sees of a run that is to end well."""
        return self.run("run", "watch", run)


def trusted(root: Path, north: Owner, south: Owner) -> None:
    """Make partners of two sites; each lets the other's tenant use its cloud: alpha, and beta of south."""
    invitation = root / "invitation"
    own = north.answered("trust", "invite", "south", "--file", str(invitation))["own_fingerprint"]
    there = south.answered("trust", "accept", str(invitation), "--fingerprint", own)
    north.run("trust", "confirm", "south", "--fingerprint", there["own_fingerprint"])
    for owner, other, cloud in ((north, "south", "alpha"), (south, "north", "beta")):
        owner.run("trust", "allow", other, "--tenant", "default", "--as", "default", "--cloud", cloud)


class TwoOwners:
    """North has alpha, south has beta. They are partners, and each lets the other in.

    ``host`` is where each tells the other to reach it; both listen at 127.0.0.1.
    ``more`` are settings of both.
    """

    def __init__(self, root: Path, host: str = "127.0.0.1", more: str = "") -> None:
        self.root = root
        self.reached, self.go = root / "reached", root / "go"
        words = [sys.executable, "-I", "-c", HOLD, str(self.reached), str(self.go)]
        hooks = f'hosts = ["{host}"]\n{more}[hooks.hold]\ncommand = {json.dumps(words)}\n'
        self.north, self.south = Owner(root, "north", hooks), Owner(root, "south", hooks)
        self.alpha, self.beta = MemoryCloud("alpha", root / "alpha"), MemoryCloud("beta", root / "beta")
        self.alpha.found(ALPHA)
        self.beta.found(BETA)

    def make(self, name: str) -> None:
        """Make and start a VM at alpha."""
        wanted = replace(web_vm(), name=name)
        asyncio.run(self.alpha.create_vm(Act(run=name, step="create", epoch=1), wanted, "boot and data"))

    def __enter__(self) -> Self:
        try:
            for owner, cloud in ((self.north, "alpha"), (self.south, "beta")):
                owner.serve()
                owner.run("cloud", "add", cloud, "memory", "--set", f"path={self.root / cloud}")
            trusted(self.root, self.north, self.south)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.go.touch()
        self.north.machine.end()
        self.south.machine.end()

    def check_taken_back(self, name: str) -> None:
        """Check that the VM runs at alpha as if nothing had been, and that nothing of it is at beta."""
        source = asyncio.run(self.alpha.vm(name))
        assert (source.power, source.fenced) == (PowerState.RUNNING, False)
        assert name not in {vm.name for vm in asyncio.run(self.beta.vms())}

    def check(self, name: str) -> None:
        """Check that the VM is at beta, and retained at alpha."""
        source, copy = asyncio.run(self._both(name))
        assert (source.power, source.fenced) == (PowerState.STOPPED, True)
        assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
        disk, there = self.alpha.disk_path(source.disks[0].id), self.beta.disk_path(copy.disks[0].id)
        assert disk.read_bytes() == there.read_bytes()

    async def _both(self, name: str) -> tuple[VM, VM]:
        return await self.alpha.vm(name), await self.beta.vm(name)
