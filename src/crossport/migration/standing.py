"""What one end of a run knows: how far its permit is, what was made, and its VM as the cloud shows it."""

from collections.abc import Awaitable, Callable

from crossport import errors
from crossport.migration.belongings import copy_of
from crossport.migration.end import Ends, Hold, Landing
from crossport.migration.local_site import able
from crossport.model.record import record
from crossport.model.run import Created
from crossport.model.vm import VM
from crossport.spi.cloud import Cloud, Inventory
from crossport.spi.run import Ledger

__all__ = ["Standing", "Standings"]


@record()
class Standing:
    """One end. ``why`` says why there is no VM although one was looked for.

    ``tenant`` is as whom a partner's site has the run, where the end is a partner's.
    """

    hold: Hold | None = None
    landing: Landing = Landing()
    ledger: tuple[Created, ...] = ()
    vm: VM | None = None
    why: str = ""
    tenant: str = ""


class Standings:
    """Looks at the ends that are of this site. ``ends`` and ``ledger`` are asked at each use."""

    def __init__(
        self,
        ends: Callable[[], Ends],
        ledger: Callable[[], Ledger],
        cloud: Callable[[str, str], Awaitable[Cloud]],
    ) -> None:
        self._ends = ends
        self._ledger = ledger
        self._cloud = cloud

    async def source(self, tenant: str, run: str, cloud: str, vm: str) -> Standing:
        """Return the source's end; ``vm`` is looked for when the run holds none."""
        hold = await self._ends().hold(run)
        found, why = await self.now(tenant, cloud, hold.vm if hold and hold.vm else vm)
        ledger = await self._ledger().entries(run, cloud)
        return Standing(hold=hold, ledger=ledger, vm=found, why=why)

    async def target(self, tenant: str, run: str, cloud: str) -> Standing:
        """Return the target's end."""
        ledger = await self._ledger().entries(run, cloud)
        found, why = await self.now(tenant, cloud, copy_of(ledger))
        return Standing(landing=await self._ends().landing(run), ledger=ledger, vm=found, why=why)

    async def now(self, tenant: str, cloud: str, vm: str) -> tuple[VM | None, str]:
        """Return the VM as its cloud shows it now, or in words why it does not."""
        if not vm:
            return None, ""
        try:
            return await able(await self._cloud(tenant, cloud), Inventory).vm(vm), ""
        except errors.Error as error:
            return None, error.text
