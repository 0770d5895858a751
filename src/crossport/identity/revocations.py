"""Keys of a site that were revoked at one node and lie with the signer of another, for all of its nodes."""

from collections.abc import Callable

from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents

__all__ = ["Revocations"]

_KIND = "key-revoked"


@record()
class _Revoked:
    """Since when (Unix seconds)."""

    at: float


class Revocations:
    """Kept in the site's documents: what one node is told, all of them read before they sign again."""

    def __init__(self, documents: Callable[[], Documents], clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def add(self, key: str) -> None:
        """Revoke a key, by its id, from now on. One that is revoked already stays so."""
        if key not in await self.all():
            await self._documents().put(_KIND, key, _Revoked(at=self._clock.wall()))

    async def all(self) -> dict[str, float]:
        """Return since when each is revoked."""
        found: dict[str, float] = {}
        after = ""
        while page := await self._documents().list(_KIND, _Revoked, after=after):
            found |= {one.key: one.value.at for one in page}
            after = page[-1].key
        return found
