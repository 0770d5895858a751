"""A real guest goes from the embedded cloud of one owner to that of another, between two servers.

North's own workers read the source, a gateway of south in its import subnet writes the target. Nothing is
replaced: two state directories, two authorities, the real link, real guests.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.gateway.test_real_gateways import Gateway
from tests.lab.local import clouds
from tests.lab.serve.two_sites import Owner, trusted

from crossport.clouds.local import destroy
from crossport.model.artifact import Way
from crossport.model.health import Probe, ProbeKind
from crossport.model.vm import VM, PowerState

pytestmark = [pytest.mark.qemu, pytest.mark.root, pytest.mark.timeout(400)]

FILL = "echo carried > /data/proof && sync"
LONG_S = 240.0
OWNERS = (("north", "alpha"), ("south", "beta"))


class Owners:
    """North has alpha with the guest ``web``; south has beta, and a gateway in its import subnet."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.owners = {name: Owner(home, name, "") for name, _ in OWNERS}
        self.gateway: Gateway | None = None

    async def make(self) -> None:
        image = clouds.guest_image(self.home)
        for name, cloud in OWNERS:
            await clouds.prepared(self.home / cloud, image)
            owner = self.owners[name]
            owner.serve()
            owner.run("cloud", "add", cloud, "local", "--set", f"path={self.home / cloud}")
        trusted(self.home, self.owners["north"], self.owners["south"])
        await self._join()
        alpha = await clouds.connected(self.home / "alpha")
        vm = await alpha.create_vm(clouds.act("create"), clouds.described("web"), clouds.IMAGE)
        await clouds.answering(alpha, vm.id)
        filled = await alpha.probe(vm.id, Probe(kind=ProbeKind.COMMAND, command=FILL))
        assert filled.good, filled.text
        await alpha.close()

    async def _join(self) -> None:
        beta = await clouds.connected(self.home / "beta")
        seat = await beta.place(Way.WRITE)
        await beta.close()
        file = self.home / "beta.join"
        south = self.owners["south"]
        told = south.answered("gateway", "enroll", "beta", "VMImportSubnet", "--file", str(file))
        words = ("--join", str(file), "--authority", told["command"].split()[-1])
        self.gateway = Gateway.start(self.home / "gateway", seat.namespace, *words)
        south.machine.wait(lambda: any(one["connected"] for one in south.answered("gateway", "list")), 90)

    async def both(self) -> tuple[VM, VM]:
        """Return the VM at either end, once the copy answers with what the source had written."""
        alpha, beta = [await clouds.connected(self.home / cloud) for _, cloud in OWNERS]
        try:
            [source], [copy] = await alpha.vms(), await beta.vms()
            await clouds.answering(beta, copy.id)
            kept = Probe(kind=ProbeKind.COMMAND, command="cat /data/proof", expect="carried")
            carried = await beta.probe(copy.id, kept)
            assert carried.good, carried.text
            return source, await beta.vm(copy.id)
        finally:
            await alpha.close()
            await beta.close()

    def end(self) -> None:
        if self.gateway is not None:
            self.gateway.process.kill()
            self.gateway.process.wait(10)
        for owner in self.owners.values():
            owner.machine.end()
        for _, cloud in OWNERS:
            asyncio.run(destroy(self.home / cloud))


@pytest.fixture
def owners(tmp_path: Path) -> Iterator[Owners]:
    made = Owners(tmp_path)
    try:
        asyncio.run(made.make())
        yield made
    finally:
        made.end()


def test_a_guest_goes_over_to_another_owner(owners: Owners) -> None:
    north = owners.owners["north"]
    words = ("migrate", "web", "--from", "alpha", "--to", "beta@south", "--power-off")
    moving = north.machine.start(*words, CROSSPORT_SETTINGS=str(north.settings))
    out, told = moving.communicate(timeout=LONG_S)
    assert moving.returncode == 0, out + told
    source, copy = asyncio.run(owners.both())
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
