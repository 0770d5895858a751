"""Small things that other packages keep in the engine's database: clouds, tokens, plans, permits."""

from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from crossport import errors
from crossport.engine.database import Database
from crossport.engine.schema import documents as table
from crossport.model import codec
from crossport.spi.document import Document

__all__ = ["Documents"]

T = TypeVar("T")


class Documents:
    """Values of model classes, by kind and key, as strict JSON. Durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, kind: str, key: str, value: T, *, generation: int | None = None) -> Document[T]:
        """Keep ``value`` in place of the one of ``generation``; 0: there is none; None: whatever is there.

        Raise Conflict ``document.changed`` when another generation is there.
        """
        text = codec.encoded(value)
        written = await self._database.run(lambda it: _put(it, (kind, key), text, generation))
        return Document(key=key, value=value, generation=written)

    async def fetch(self, kind: str, key: str, type_: type[T]) -> Document[T]:
        """Return the document; raise NotFound ``document.unknown``."""
        query = sa.select(table).where(table.c.kind == kind, table.c.key == key)
        row = await self._database.run(lambda it: it.execute(query).one_or_none())
        if row is None:
            raise errors.NotFound("document.unknown", f"There is no {kind} {key}.", remedy=errors.REPORT)
        return _document(row, type_)

    async def list(
        self, kind: str, type_: type[T], *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> tuple[Document[T], ...]:
        """Return documents by key, as far as keys begin with ``prefix`` and follow ``after``."""
        query = (
            sa.select(table)
            .where(
                table.c.kind == kind,
                sa.func.substr(table.c.key, 1, len(prefix)) == prefix,
                table.c.key > after,
            )
            .order_by(table.c.key)
            .limit(limit)
        )
        rows = await self._database.run(lambda it: it.execute(query).all())
        return tuple(_document(row, type_) for row in rows)

    async def delete(self, kind: str, key: str, *, generation: int | None = None) -> bool:
        """Remove the document; return whether it was there. Raise Conflict ``document.changed``."""
        return await self._database.run(lambda it: _delete(it, (kind, key), generation))


def _document(row: sa.Row[Any], type_: type[T]) -> Document[T]:
    return Document(key=row.key, value=codec.decoded(row.json, type_), generation=row.generation)


def _there(connection: sa.Connection, place: tuple[str, str]) -> int:
    """Return the generation that is there, 0 for none."""
    query = sa.select(table.c.generation).where(table.c.kind == place[0], table.c.key == place[1])
    return connection.execute(query.with_for_update()).scalar() or 0


def _put(connection: sa.Connection, place: tuple[str, str], text: str, generation: int | None) -> int:
    there = _there(connection, place)
    if generation is not None and there != generation:
        raise _changed(place)
    values = {"kind": place[0], "key": place[1], "generation": there + 1, "json": text}
    if there:
        where = (table.c.kind == place[0], table.c.key == place[1])
        connection.execute(sa.update(table).where(*where).values(values))
        return there + 1
    try:
        connection.execute(sa.insert(table).values(values))
    except IntegrityError:
        raise _changed(place) from None  # another node was first
    return 1


def _delete(connection: sa.Connection, place: tuple[str, str], generation: int | None) -> bool:
    there = _there(connection, place)
    if not there:
        return False
    if generation is not None and there != generation:
        raise _changed(place)
    connection.execute(sa.delete(table).where(table.c.kind == place[0], table.c.key == place[1]))
    return True


def _changed(place: tuple[str, str]) -> errors.Conflict:
    return errors.Conflict(
        "document.changed",
        f"Somebody changed {place[0]} {place[1]} in the meantime.",
        remedy="Fetch it again and repeat the change.",
    )
