"""Where several nodes keep their site's sealed secrets: in the database that they share.

They are sealed before they come here; the key that opens them stays in each node's identity directory.
"""

import base64
from typing import Protocol

from crossport import errors
from crossport.model.record import record
from crossport.spi.document import Documents

__all__ = ["SealedDocuments"]

KIND = "sealed"
PAGE = 500


@record()
class _Sealed:
    base64: str


class Keeper(Protocol):
    """Who has documents once it is open: the engine."""

    @property
    def documents(self) -> Documents:
        """The documents."""
        ...


class SealedDocuments:
    """A `crossport.identity.SealedStore` in the documents of an engine that is opened later.

    With ``only_new`` nothing is replaced: a write where something is kept raises Conflict
    ``document.changed``, also when another node wrote it at the same moment.
    """

    def __init__(self, engine: Keeper, *, only_new: bool = False) -> None:
        self._engine = engine
        self._generation = 0 if only_new else None

    async def read(self, reference: str) -> bytes | None:
        """Return what is kept, None when there is nothing."""
        try:
            document = await self._engine.documents.fetch(KIND, reference, _Sealed)
        except errors.NotFound:
            return None
        return base64.b64decode(document.value.base64)

    async def write(self, reference: str, sealed: bytes) -> None:
        """Keep ``sealed``, replacing what was there."""
        kept = _Sealed(base64=base64.b64encode(sealed).decode())
        await self._engine.documents.put(KIND, reference, kept, generation=self._generation)

    async def remove(self, reference: str) -> None:
        """Remove it. Not an error when it is gone."""
        await self._engine.documents.delete(KIND, reference)

    async def references(self) -> tuple[str, ...]:
        """Return everything that is kept, by name."""
        found: list[str] = []
        while page := await self._engine.documents.list(
            KIND, _Sealed, after=found[-1] if found else "", limit=PAGE
        ):
            found.extend(document.key for document in page)
        return tuple(found)
