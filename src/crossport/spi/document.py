"""Small things kept under a kind and a key, with a generation so that two writers notice each other."""

from typing import Generic, Protocol, TypeVar

from crossport.model.record import record

__all__ = ["Document", "Documents"]

T = TypeVar("T")


@record()
class Document(Generic[T]):
    """A kept value. ``generation`` counts its changes from 1."""

    key: str
    value: T
    generation: int


class Documents(Protocol):
    """Values of model classes, by kind and key, as strict JSON. Durable on return."""

    async def put(self, kind: str, key: str, value: T, *, generation: int | None = None) -> Document[T]:
        """Keep ``value``. ``generation`` is that of the value it replaces, 0 for none; None: any.

        Raise Conflict ``document.changed`` when another generation is there.
        """
        ...

    async def fetch(self, kind: str, key: str, type_: type[T]) -> Document[T]:
        """Return the document; raise NotFound ``document.unknown``."""
        ...

    async def list(
        self, kind: str, type_: type[T], *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> tuple[Document[T], ...]:
        """Return documents by key, whose keys begin with ``prefix`` and follow ``after``."""
        ...

    async def delete(self, kind: str, key: str, *, generation: int | None = None) -> bool:
        """Remove the document; return whether it was there. Raise Conflict ``document.changed``."""
        ...
