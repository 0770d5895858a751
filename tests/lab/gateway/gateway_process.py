"""A gateway as a process of this machine, whose site runs in the test."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.unit.gateway.rig import EXPORT, Site, Subnet

__all__ = ["GatewayProcess"]

LONG_S = 150.0


@dataclass
class GatewayProcess:
    """It joined its site already; what it says is in ``log``. ``within`` is put before its command."""

    home: Path
    id: str
    process: subprocess.Popen[bytes]
    within: tuple[str, ...] = ()

    @classmethod
    async def joined(
        cls, site: Site, home: Path, subnet: Subnet = EXPORT, within: Sequence[str] = ()
    ) -> "GatewayProcess":
        """Let a new one join ``site``, start it, and wait until it is connected."""
        home.mkdir(mode=0o700, exist_ok=True)
        kept = await site.joined(await site.enrolled(subnet), home)
        one = cls.started(home, kept.membership().gateway, within)
        await one.until_connected(site)
        return one

    @classmethod
    def started(
        cls, home: Path, gateway: str, within: Sequence[str] = (), words: Sequence[str] = ()
    ) -> "GatewayProcess":
        """Start one that joined, or that joins first as ``words`` say."""
        argv = [*within, sys.executable, "-m", "crossport.app", "gateway", "run"]
        argv += words or ["--gateway", gateway]
        environment = {"CROSSPORT_HOME": str(home), "HOME": str(home), "PATH": os.environ["PATH"]}
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        return cls(home, gateway, process, tuple(within))

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    async def until_connected(self, site: Site) -> None:
        async with asyncio.timeout(LONG_S):
            while not site.connected(self.id):
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.02)

    async def until_it_says(self, words: str) -> None:
        async with asyncio.timeout(LONG_S):
            while words not in self.log:
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    async def again(self, site: Site) -> "GatewayProcess":
        """Kill it, start it as a service manager would, and wait until it is connected."""
        self.kill()
        async with asyncio.timeout(LONG_S):
            while site.connected(self.id):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        one = GatewayProcess.started(self.home, self.id, self.within)
        await one.until_connected(site)
        return one
