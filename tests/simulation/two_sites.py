"""One simulated schedule of two sites: each has a cloud, and either may initiate what moves from a to b."""

import dataclasses
from typing import Any

from tests.simulation.fate import Fate, UnsteadyCloud
from tests.simulation.link import FarFate, FarSite, FarWorld
from tests.simulation.schedule import MemoryCloudView, Schedule
from tests.unit.migration.two_sites import TENANT, FarMover, between
from tests.unit.migration.world import act, make_world

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.identity import role_document as roles
from crossport.migration.belongings import copy_of
from crossport.migration.both_ends import BothEnds
from crossport.migration.end import Ends, Hold
from crossport.migration.partner.foreign import foreign_id
from crossport.migration.parts import Parts
from crossport.migration.permit import SourceState
from crossport.migration.resolve import Resolution, allowed
from crossport.migration.standing import Standings
from crossport.model.partner import TenantRule
from crossport.model.request import ResolveAs
from crossport.model.run import MigrationRequest
from crossport.model.vm import PowerState

__all__ = ["FarSchedule"]


class FarSchedule(Schedule):
    """Everything that happens under one seed, at two sites."""

    fate: FarFate

    def _fate(self, seed: int) -> Fate:
        return FarFate(seed)

    async def _connect(self, alpha: UnsteadyCloud, beta: UnsteadyCloud) -> None:
        self.world = make_world(alpha, beta, "run-0", mover=FarMover)
        self.link = FarWorld(self.world.clock, self.fate)
        assert isinstance(self.world.mover, FarMover)
        self.sites = self.link.sites
        for name, cloud in (("a", alpha), ("b", beta)):
            site = FarSite(name, self.link.site(name), self.world.clock, self.world.mover)
            site.clouds = {cloud.name: cloud}
            self.sites[name] = site
        self.link.accept("a", "b")
        for name, other, clouds in (("a", "b", ("beta",)), ("b", "a", ("alpha",))):
            await self._introduce(name, other, clouds)
        self.initiators = {f"run-{number}": self.fate.random.choice("ab") for number in range(1, 4)}
        for run, initiator in self.initiators.items():
            self.fate.words[foreign_id(initiator, run)] = run
        self.fate.meddle = self._meddle

    async def _introduce(self, name: str, other: str, clouds: tuple[str, ...]) -> None:
        """Let ``other`` know the keys of ``name``, whose tenant may use these clouds there."""
        keys, there = self.sites[name].keys, self.link.site(other)
        known = await there.partner(name)
        rule = TenantRule(theirs=TENANT, ours=TENANT, clouds=clouds)
        there.know(
            dataclasses.replace(known, root=roles.public(keys.root), roles=keys.envelope, tenants=(rule,))
        )

    async def _meddle(self) -> None:
        """Somebody tries to start a VM that its owner keeps running."""
        name = self.fate.random.choice(sorted(self.home))
        if self.was[name] is not PowerState.RUNNING:
            return
        try:
            await MemoryCloud.start(self.world.alpha, act("start", "owner"), self.home[name].id)
        except errors.Refused:
            return
        self.fate.story.append(f"somebody starts {name}")
        await self._watch()

    # By which words both sites know a run.
    def _word(self, run: str, site: str) -> str:
        return run if self.initiators[run] == site else foreign_id(self.initiators[run], run)

    def _tag(self, run: str) -> str:
        return self._word(run, "b")

    def _parts(self, run: str) -> Parts:
        return self.sites[self.initiators[run]].parts(self.world.parts.estimator, self.world.hooks)

    def _between(self, run: str) -> dict[str, str]:
        return between(self.initiators[run])

    async def _hold(self, run: str) -> Hold | None:
        return await Ends(self.sites["a"].documents).hold(self._word(run, "a"))

    async def _holder(self, vm: str) -> str:
        return await self.sites["a"].local().holder("alpha", vm)

    async def _entries(self, run: str) -> tuple[Any, ...]:
        found = [await site.ledger.entries(self._word(run, name)) for name, site in self.sites.items()]
        return tuple(entry for entries in found for entry in entries)

    # What a person does, and what must hold then.
    def _both(self, run: str) -> BothEnds:
        site = self.sites[self.initiators[run]]
        here = Standings(
            lambda: Ends(site.documents), lambda: site.ledger, lambda tenant, cloud: site.connect(cloud)
        )
        return BothEnds(lambda: Ends(site.documents), here, site.peer.abroad)

    async def _resolution(self, run: str, request: MigrationRequest) -> Resolution:
        look = await self._both(run).look(TENANT, request, run)
        committed = look.hold is not None and look.hold.state is SourceState.COMMITTED
        wanted = Resolution(
            run=run,
            request=request,
            source_id=self.home[request.vm].id,
            target_id=copy_of(look.ledger),
            seen=look.target_vm is not None,
            outcome=ResolveAs.TARGET if committed else ResolveAs.SOURCE,
            committed=committed,
            verified=look.landing.verified,
        )
        allowed(wanted, look.hold)
        return wanted

    async def _wrap_up(self) -> None:
        await self.link.all_come()
        for run, ending in self.endings.items():
            assert ending.request.test or await self._both(run).settled(ending.request, run), (
                f"{run} is undecided"
            )

    async def _wake_all(self) -> None:
        await super()._wake_all()
        await self.link.all_come(share=0.5)

    async def _watch(self) -> None:
        """Only what the source has let go leaves its quarantine, besides."""
        await super()._watch()
        open_ = {
            vm.id
            for vm in await MemoryCloudView.vms(self.world.beta)
            if not vm.quarantined and vm.power is PowerState.RUNNING
        }
        for run in self.endings:
            if f"{self._tag(run)}-vm" in open_:
                hold = await self._hold(run)
                permitted = hold is not None and hold.state is SourceState.COMMITTED
                self._must(permitted, f"{run}: open without a permit")
