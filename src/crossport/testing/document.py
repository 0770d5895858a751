"""Documents and a ledger in this process's memory, for fast tests of whatever keeps state."""

from typing import Any, TypeVar

from crossport import errors
from crossport.model import codec
from crossport.model.run import Created
from crossport.spi.document import Document

__all__ = ["MemoryDocuments", "MemoryLedger"]

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


class MemoryLedger:
    """A ledger as `crossport.spi.run.Ledger` promises, lost with the process."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str, str], Created] = {}

    async def intend(self, thing: Created) -> None:
        """Write down what is about to be made."""
        self._entries.setdefault(_key(thing), thing)

    async def settle(self, thing: Created) -> None:
        """Write down what became of it."""
        self._entries[_key(thing)] = thing

    async def entries(self, run: str, cloud: str = "") -> tuple[Created, ...]:
        """Return the run's entries in the order in which they were intended."""
        everything: list[Any] = list(self._entries.values())
        return tuple(thing for thing in everything if thing.run == run and cloud in {"", thing.cloud})


def _key(thing: Created) -> tuple[str, str, str, str]:
    return (thing.run, thing.cloud, thing.kind, thing.name)
