"""What runs have created, in the database: written down before it is made, so that it can be cleaned up."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from crossport.engine.database import Database
from crossport.engine.schema import ledger as table
from crossport.model import codec
from crossport.model.run import Created

__all__ = ["DurableLedger"]


class DurableLedger:
    """The ledger of all runs; implements spi.run.Ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = postgresql.insert if database.shared else sqlite.insert

    async def intend(self, thing: Created) -> None:
        """Write the entry down; one that is there already stays as it is."""
        statement = self._insert(table).values(_values(thing)).on_conflict_do_nothing()
        await self._database.run(lambda it: it.execute(statement))

    async def settle(self, thing: Created) -> None:
        """Write down the entry's new state; an entry that nobody intended is added."""
        values = _values(thing)
        statement = (
            self._insert(table)
            .values(values)
            .on_conflict_do_update(
                index_elements=["run", "cloud", "kind", "name"], set_={"created": values["created"]}
            )
        )
        await self._database.run(lambda it: it.execute(statement))

    async def entries(self, run: str, cloud: str = "") -> tuple[Created, ...]:
        """Return the run's entries in the order in which they were intended."""
        query = sa.select(table.c.created).where(table.c.run == run).order_by(table.c.number)
        if cloud:
            query = query.where(table.c.cloud == cloud)
        texts = await self._database.run(lambda it: it.execute(query).scalars().all())
        return tuple(codec.decoded(text, Created) for text in texts)

    async def forget(self, run: str) -> None:
        """Drop all entries of a run."""
        await self._database.run(lambda it: it.execute(sa.delete(table).where(table.c.run == run)))


def _values(thing: Created) -> dict[str, str]:
    return {
        "run": thing.run,
        "cloud": thing.cloud,
        "kind": thing.kind,
        "name": thing.name,
        "created": codec.encoded(thing),
    }
