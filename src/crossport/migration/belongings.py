"""What a run made in a cloud, as its ledger and the cloud's tags tell, and removing it."""

from dataclasses import dataclass

from crossport import errors
from crossport.migration.ability import able
from crossport.migration.published import KIND
from crossport.model.run import Act, Created, LedgerState
from crossport.spi.cloud import ChangeTracker, Cloud, Exporter, Importer, Publisher
from crossport.spi.run import Ledger
from crossport.spi.site import Cleaned

__all__ = ["Belongings", "copy_of"]


@dataclass(frozen=True, slots=True)
class Belongings:
    """What runs made, by ``ledger``."""

    _ledger: Ledger

    async def remove(
        self, act: Act, cloud: str, driver: Cloud, *, must: bool, keep_vm: bool = False
    ) -> Cleaned:
        """Remove the run's things, VMs first. ``must`` raises what could not be removed."""
        removed: list[str] = []
        left: list[str] = []
        for thing in await self._things(act, cloud, driver):
            if thing.state is LedgerState.REMOVED or thing.state is LedgerState.KEPT:
                continue
            if keep_vm and thing.kind in {"vm", "volume"}:
                continue
            try:
                await _remove(act, driver, thing)
            except errors.Error as error:
                if must:
                    raise
                left.append(f"{thing.kind} {thing.name}: {error.text}")
                continue
            await self.settle(act, cloud, thing.kind, thing.name, LedgerState.REMOVED, thing)
            removed.append(f"{thing.kind} {thing.name}")
        return Cleaned(removed=tuple(removed), left=tuple(left))

    async def _things(self, act: Act, cloud: str, driver: Cloud) -> list[Created]:
        """The ledger's entries with the ids that the cloud knows, and orphans that only the tag shows."""
        entries = await self._ledger.entries(act.run, cloud)
        tagged = await driver.tagged(act.run) if isinstance(driver, Importer) else ()
        kept = {entry.id for entry in entries if entry.state is LedgerState.KEPT}
        known = {entry.id for entry in entries if entry.state is not LedgerState.REMOVED}
        orphans = [thing for thing in tagged if thing.id not in known | kept]
        order = {"vm": 0, "volume": 1, "export": 2}
        return sorted((*entries, *orphans), key=lambda thing: order.get(thing.kind, 3))

    async def settle(
        self, act: Act, cloud: str, kind: str, name: str, state: LedgerState, thing: Created | None
    ) -> None:
        """Note what became of it."""
        entry = Created(
            run=act.run, cloud=cloud, kind=kind, name=name, id=thing.id if thing else "", state=state
        )
        await self._ledger.settle(entry)


async def _remove(act: Act, driver: Cloud, thing: Created) -> None:
    if thing.kind == "export":
        await able(driver, Exporter).end_export(act, thing.name)
    elif thing.kind == "tracking":
        await able(driver, ChangeTracker).end_tracking(act, thing.name)
    elif thing.kind == KIND:
        await able(driver, Publisher).close_images(act)
    elif thing.id or thing.kind not in {"vm", "volume"}:
        await able(driver, Importer).remove(act, thing)


def copy_of(ledger: tuple[Created, ...]) -> str:
    """Return the id of the VM that a run made, empty when it made none."""
    return next((one.id for one in ledger if one.kind == "vm" and one.id), "")
