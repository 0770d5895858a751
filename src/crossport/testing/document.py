"""Documents in this process's memory, for fast tests of whatever keeps state."""

from typing import TypeVar

from crossport import errors
from crossport.model import codec
from crossport.spi.document import Document

__all__ = ["MemoryDocuments"]

T = TypeVar("T")


class MemoryDocuments:
    """Documents as `crossport.spi.document.Documents` promises, lost with the process.

    Values go through JSON, so that what cannot be kept for real cannot be kept here.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[str, int]] = {}

    async def put(self, kind: str, key: str, value: T, *, generation: int | None = None) -> Document[T]:
        """Keep ``value``."""
        _, there = self._kept.get((kind, key), ("", 0))
        if generation is not None and generation != there:
            raise errors.Conflict("document.changed", f"{kind} {key} was changed by somebody else.")
        self._kept[kind, key] = (codec.encoded(value), there + 1)
        return Document(key=key, value=value, generation=there + 1)

    async def fetch(self, kind: str, key: str, type_: type[T]) -> Document[T]:
        """Return the document."""
        if (kind, key) not in self._kept:
            raise errors.NotFound("document.unknown", f"There is no {kind} {key}.")
        text, generation = self._kept[kind, key]
        return Document(key=key, value=codec.decoded(text, type_), generation=generation)

    async def list(
        self, kind: str, type_: type[T], *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> tuple[Document[T], ...]:
        """Return documents by key."""
        keys = sorted(
            key for one, key in self._kept if one == kind and key.startswith(prefix) and key > after
        )
        return tuple([await self.fetch(kind, key, type_) for key in keys[:limit]])

    async def delete(self, kind: str, key: str, *, generation: int | None = None) -> bool:
        """Remove the document."""
        _, there = self._kept.get((kind, key), ("", 0))
        if generation is not None and there and generation != there:
            raise errors.Conflict("document.changed", f"{kind} {key} was changed by somebody else.")
        return self._kept.pop((kind, key), None) is not None
