"""The small world that is measured in: two embedded clouds, one link of 1 Gbit/s each, a guest that runs."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from crossport.app.clock import SystemClock
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.clouds import local
from crossport.clouds.local.network import leftovers, remove_leftovers
from crossport.clouds.local.network.reach import Question, reached
from crossport.migration.parts import RateProbe
from crossport.model.construct import Network
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.mapping import MappingRules
from crossport.model.request import CloudEntry, VmRequest
from crossport.model.run import Act, MigrationRequest
from crossport.model.vm import VM
from crossport.spi.driver import Connect
from crossport.spi.mover import Mover
from crossport.spi.secret import Secret
from crossport.testing.guest import Recipe, build_guest

__all__ = ["GUESTS", "STATE", "TENANT", "WAN_RATE_BPS", "Guest", "Laboratory", "laboratory"]

WAN_RATE_BPS = 1_000_000_000
TENANT = "default"
STATE = Probe(kind=ProbeKind.HTTP, port=80, path="/cgi-bin/state")
CHECKS = HealthChecks(probes=(STATE,), timeout_s=120)
ANSWER_S = 120.0


@dataclass(frozen=True)
class Guest:
    """A guest by the bytes its disk uses. ``fill`` are bytes of real files; the system makes up the rest."""

    name: str
    fill: int


GUESTS = (Guest("800 MB", 746_000_000), Guest("1060.94 MB", 995_600_000))


@dataclass(frozen=True)
class Laboratory:
    """Both clouds and the site that migrates between them."""

    folder: Path
    alpha: local.LocalCloud
    beta: local.LocalCloud
    site: OpenSite
    home: str

    @property
    def wan(self) -> str:
        """The namespace in which the clouds meet."""
        return next(name for name in leftovers(self.home) if name.endswith("-wan"))

    async def guest(self, guest: Guest, cache: Path) -> VM:
        """Build the guest, start it at alpha, and return it when it answers."""
        raw = self.folder / "image.raw"
        await asyncio.to_thread(build_guest, raw, Recipe(fill=guest.fill), cache=cache)
        name = f"guest-{guest.fill}"
        try:
            await self.alpha.register_image(name, raw)
        finally:
            raw.unlink(missing_ok=True)
        request = VmRequest(name=name, image=name, flavor="tiny", networks=("app",))
        vm = await self.site.control.create_vm(TENANT, "alpha", request, name)
        await self.answered(self.alpha, vm)
        await self.alpha.drop_image(name)
        return vm

    def request(self, vm: VM) -> MigrationRequest:
        """Return what is asked of Crossport."""
        rules = MappingRules(networks={"app": "frontend"})
        return MigrationRequest(vm=vm.id, source="alpha", target="beta", rules=rules, checks=CHECKS)

    async def answered(self, cloud: local.LocalCloud, vm: VM) -> str:
        """Return what the guest says to somebody in the ``wan``, as soon as it says something."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                door = await cloud.door(vm.id, 80)
                if door is not None:
                    asked = Question(
                        host=door.host, port=door.port, namespace=self.wan, kind="http", path=STATE.path
                    )
                    answer = await reached(asked)
                    if answer.good:
                        return answer.text
                await asyncio.sleep(0.2)

    async def again(self, vm: VM, moved: VM) -> None:
        """Delete the moved VM and run the source's again, as before the migration."""
        act = Act(run=f"again-{moved.id}", step="again", epoch=1)
        await self.beta.power_off(act, moved.id)
        await self.beta.delete_vm(act, moved.id)
        await self.alpha.unfence(act, vm.id)
        await self.alpha.start(act, vm.id)
        await self.answered(self.alpha, vm)


@asynccontextmanager
async def laboratory(
    folder: Path,
    *,
    mover: Mover | None = None,
    probe: RateProbe | None = None,
    connects: Mapping[str, Connect] | None = None,
) -> AsyncGenerator[Laboratory]:
    """Make both clouds below ``folder``, and remove them and all they started on leaving."""
    home = folder / "clouds"
    roots = {name: home / name for name in ("alpha", "beta")}
    os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the guests' own users pass through; once, before any work
    for name, root in roots.items():
        local.create(root, _spec(name), Secret(secrets.token_hex(20)))
    try:
        async with open_site(
            SiteSettings(name="bench", state_dir=folder / "control"),
            SystemClock(),
            mover,
            probe=probe,
            connects=connects,
        ) as site:
            clouds: dict[str, local.LocalCloud] = {}
            for name, root in roots.items():
                entry = CloudEntry(name=name, driver="local", settings={"path": str(root)})
                await site.control.add_cloud(TENANT, entry)
                token = Secret((root / "token").read_text().strip())
                clouds[name] = local.LocalCloud(name, root, token)
            try:
                yield Laboratory(folder, clouds["alpha"], clouds["beta"], site, str(home.resolve()))
            finally:
                for cloud in clouds.values():
                    await cloud.close()
    finally:
        for root in roots.values():
            await local.destroy(root)
        await remove_leftovers(str(home.resolve()))


def _spec(name: str) -> local.CloudSpec:
    subnet = {"alpha": "10.10.0", "beta": "10.30.0"}[name]
    network = {"alpha": "app", "beta": "frontend"}[name]
    return local.CloudSpec(
        name=name,
        networks=(Network(name=network, cidr=f"{subnet}.0/24", gateway=f"{subnet}.1"),),
        wan_rate_bps=WAN_RATE_BPS,
        network="enforced" if os.geteuid() == 0 else "user",
    )
