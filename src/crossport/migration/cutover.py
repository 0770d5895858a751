"""The switch, as one site sees it: what it states before the commit and behind it, and the way back.

A decision is written down before it is acted on, and each call may come again.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from crossport import errors
from crossport.migration.ability import able
from crossport.migration.belongings import Belongings
from crossport.migration.end import Ends, Hold
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, TargetState
from crossport.migration.quarantine import Quarantine, require_passed
from crossport.model.permit import Fence, Statement, StatementKind
from crossport.model.run import Act, LedgerState
from crossport.model.vm import VM, PowerState
from crossport.spi.clock import Clock
from crossport.spi.cloud import Cloud, Exporter, Fencer, Importer, Inventory, Power
from crossport.spi.run import Ledger

__all__ = ["Cutover", "expect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutover:
    """Implements a part of `crossport.spi.site.Site` for ``site``. ``connect`` returns a named cloud."""

    site: str
    connect: Callable[[str], Awaitable[Cloud]]
    ends: Ends
    ledger: Ledger
    belongings: Belongings
    quarantine: Quarantine
    clock: Clock

    async def prepare_commit(self, act: Act, cloud: str, vm_id: str) -> Statement:
        """State that the verified copy stands here."""
        landing, own = await self.ends.landing(act.run), await self.quarantine.has(act, cloud, vm_id)
        if not landing.verified or not own or not await self._seen(cloud, vm_id):
            raise errors.Refused(
                "permit.copy.none",
                f"{cloud} holds no verified copy of run {act.run}: a commit would lose both sides.",
                remedy=f"Go back instead: crossport run resolve {act.run} --as source",
            )
        kind = await self.ends.target(act.run, TargetEvent.PREPARE)
        if not landing.passed:
            await self.quarantine.require_checked(landing, vm_id)
            await self.ends.passed(act.run)  # so that a new policy does not come between both sides' commit
        return self.statement(act, kind or StatementKind.PREPARED, vm_id)

    async def commit(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Source end: record the decision. Target end: open the network on the permit."""
        if other.kind is StatementKind.PREPARED:
            expect(other, act, (StatementKind.PREPARED,))
            await self._still_off(cloud, vm_id)
            kind = await self.ends.source(act.run, SourceEvent.COMMIT)
            return self.statement(act, kind, vm_id)
        expect(other, act, (StatementKind.START_PERMITTED,))
        own = await self.quarantine.has(act, cloud, vm_id)
        require_passed(act.run, await self.ends.landing(act.run), own=own)
        opened = await self.ends.target(act.run, TargetEvent.PERMIT)
        await able(await self.connect(cloud), Importer).open_network(act, vm_id)
        await self.ends.opened(act.run)
        for thing in await self.ledger.entries(act.run, cloud):
            if thing.kind in {"vm", "volume"}:
                await self.belongings.settle(act, cloud, thing.kind, thing.name, LedgerState.KEPT, thing)
        return self.statement(act, opened or StatementKind.OPENED, vm_id)

    async def _still_off(self, cloud: str, vm_id: str) -> None:
        """Refuse when somebody started the source. One that cannot be asked has stated that it is fenced."""
        try:
            vm = await self._seen(cloud, vm_id)
        except errors.Unavailable:
            return
        if vm is not None and vm.power is PowerState.RUNNING:
            raise errors.Refused(
                "permit.source.runs",
                f"{vm.name} runs at {cloud}, although this migration had stopped it: somebody started it.",
                remedy="What it did since is not in the copy. Migrate it again.",
            )

    async def _seen(self, cloud: str, vm_id: str) -> VM | None:
        """Return the VM as it is now, None when the cloud says that it has none."""
        if not vm_id:
            return None
        driver = able(await self.connect(cloud), Inventory)
        try:
            return await driver.vm(vm_id)
        except errors.NotFound:
            return None

    async def withdraw(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Record that this run will never get a permit, as long as the source has its VM."""
        hold = await self.ends.hold(act.run)
        open_ = hold is not None and hold.vm and hold.state is SourceState.HELD
        if open_ and not sure and await self._seen(cloud, vm_id) is None:
            raise errors.Refused(
                "permit.source.gone",
                f"{cloud} has its VM {vm_id} no more: the copy at the target is the last one and was kept.",
                remedy=f"Go on with it: crossport run resolve {act.run} --as target",
            )
        return self.statement(act, await self.ends.source(act.run, SourceEvent.WITHDRAW), vm_id)

    async def give_up(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """State that the copy will never run because it is lost."""
        used = (await self.ends.landing(act.run)).state is TargetState.OPEN
        try:
            tagged = await able(await self.connect(cloud), Importer).tagged(act.run)
        except errors.Error:
            if not sure or used:
                raise
            tagged = ()
        if copies := [thing.name for thing in tagged if thing.kind == "vm"]:
            raise errors.Refused(
                "permit.copy.stands",
                f"{cloud} still has the copy {copies[0]} of run {act.run}.",
                remedy=f"It is the truth when the commit was recorded: crossport run resolve {act.run} "
                "--as target",
            )
        kind = await self.ends.target(act.run, TargetEvent.LOST)
        return self.statement(act, kind or StatementKind.NEVER_STARTED, vm_id)

    async def roll_back(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Target end: discard. Source end: bring the VM back as it was."""
        if other.kind is StatementKind.NO_PERMIT:
            expect(other, act, (StatementKind.NO_PERMIT,))
            kind = await self.ends.target(act.run, TargetEvent.NO_PERMIT)
            await self.belongings.remove(act, cloud, await self.connect(cloud), must=True)
            return self.statement(act, kind or StatementKind.NEVER_STARTED, vm_id)
        expect(other, act, (StatementKind.NEVER_STARTED, StatementKind.STOPPED_AND_FENCED))
        hold = await self.ends.hold(act.run)
        kind = await self.ends.source(act.run, SourceEvent.TARGET_GONE)
        if hold is not None and hold.vm:
            await self._bring_back(act, await self.connect(cloud), hold)
            await self.ends.returned(act.run)
        return self.statement(act, kind, vm_id)

    async def _bring_back(self, act: Act, driver: Cloud, hold: Hold) -> None:
        await able(driver, Exporter).end_export(act, hold.vm)
        await able(driver, Fencer).unfence(act, hold.vm)
        now = (await able(driver, Inventory).vm(hold.vm)).power
        if hold.was is PowerState.RUNNING and now is not PowerState.RUNNING:
            await able(driver, Power).start(act, hold.vm)

    def statement(self, act: Act, kind: StatementKind, vm: str, fence: Fence | None = None) -> Statement:
        """Return this site's word about its end of the run, as of now."""
        return Statement(
            kind=kind,
            site=self.site,
            run=act.run,
            vm=vm,
            epoch=act.epoch,
            made=self.clock.wall(),
            fence=fence or Fence(),
        )


def expect(statement: Statement, act: Act, kinds: Iterable[StatementKind]) -> None:
    """Raise Refused unless the statement is one of these kinds, of the run of ``act``."""
    if statement.kind not in kinds or statement.run != act.run:
        raise errors.Refused(
            "permit.statement.wrong",
            f"The statement {statement.kind} of run {statement.run} does not allow this in run {act.run}.",
            remedy=f"See how far it is with: crossport run show {act.run}",
        )
