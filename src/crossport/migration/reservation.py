"""Which run has which VM of a source for itself alone."""

from crossport import errors
from crossport.model.record import record
from crossport.spi.document import Documents

__all__ = ["Reservations"]

KIND = "reservation"


@record()
class _Reservation:
    run: str


class Reservations:
    """The reservations of a tenant's VMs, kept in ``documents``."""

    def __init__(self, tenant: str, documents: Documents) -> None:
        self._tenant = tenant
        self._documents = documents

    async def holder(self, cloud: str, vm: str) -> str:
        """Return the run that has reserved the VM, empty when nobody has."""
        try:
            return (await self._documents.fetch(KIND, self._key(cloud, vm), _Reservation)).value.run
        except errors.NotFound:
            return ""

    async def take(self, cloud: str, vm: str, run: str) -> None:
        """Reserve the VM for the run; again by the same run changes nothing. Raise Conflict for another's."""
        key = self._key(cloud, vm)
        try:
            await self._documents.put(KIND, key, _Reservation(run=run), generation=0)
        except errors.Conflict:
            holder = (await self._documents.fetch(KIND, key, _Reservation)).value.run
            if holder != run:
                raise errors.Conflict(
                    "vm.migrating",
                    f"{vm} of {cloud} is already being migrated by run {holder}.",
                    field="vm",
                    remedy=f"See how far it is with: crossport run show {holder}",
                ) from None

    async def end(self, cloud: str, run: str) -> None:
        """Let go what the run has reserved in the cloud."""
        for document in await self._documents.list(KIND, _Reservation, prefix=self._key(cloud, "")):
            if document.value.run == run:
                await self._documents.delete(KIND, document.key)

    def _key(self, cloud: str, vm: str) -> str:
        return f"{self._tenant}/{cloud}/{vm}"
