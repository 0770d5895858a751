"""Who lives: every node counts up its row; a row that stands still belongs to a dead or hung node.

No clock of any machine or database is compared. A node watches the counters of the others with its own
monotonic clock, and takes over by deleting the row whose counter it saw, if it still has that value. A
hung node that wakes up finds its row gone, and knows. Whoever deletes a row inherits its runs in the same
transaction, and so nobody's runs are lost when the heir dies too.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crossport.engine.database import Database, private
from crossport.engine.run_rows import GOING_ON
from crossport.engine.schema import nodes, runs
from crossport.engine.settings import EngineSettings
from crossport.model.record import record
from crossport.spi.clock import Clock

__all__ = ["Lease", "Pulse"]


@record()
class Pulse:
    """What one beat found out: whether this node was taken for dead, which of its runs shall stop,
    and which runs it inherited from the dead."""

    lost: bool = False
    cancelling: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()


class Lease:
    """This node's row. ``id`` is new at every ``join``."""

    def __init__(self, database: Database, settings: EngineSettings, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lease_s = settings.lease_s
        self._note: Path = settings.state_dir / "lease"
        self._seen: dict[int, tuple[int, float]] = {}  # id -> its counter, and since when it stands there
        self.name = settings.node
        self.id = 0

    @property
    def node(self) -> tuple[str, int]:
        """Name and lease, as runs carry them."""
        return self.name, self.id

    async def join(self) -> tuple[str, ...]:
        """Begin to live; return the runs of this node's former life, which it inherits.

        Whoever owns the state directory knows that the process that wrote the note in it is dead.
        """
        former = int(self._note.read_text() or 0) if self._note.exists() else 0
        self.id, inherited = await self._database.run(self._joined(former))
        private(self._note)
        self._note.write_text(f"{self.id}\n")
        return inherited

    def _joined(self, former: int) -> Any:
        def join(connection: sa.Connection) -> tuple[int, tuple[str, ...]]:
            id_: int = connection.execute(
                sa.insert(nodes).values(name=self.name).returning(nodes.c.id)
            ).scalar_one()
            if self._database.shared:
                dead = [former]
            else:  # nobody else can have the file
                dead = list(connection.execute(sa.select(nodes.c.id).where(nodes.c.id != id_)).scalars())
            connection.execute(sa.delete(nodes).where(nodes.c.id.in_(dead)))
            return id_, (*_inherited(connection, id_, _orphans(connection)),)

        return join

    async def leave(self) -> None:
        """Stop to live: others may go on with the runs at once."""
        await self._database.run(lambda it: it.execute(sa.delete(nodes).where(nodes.c.id == self.id)))

    async def beat(self) -> Pulse:
        """Count up, look after the others, and bury the dead."""
        return await self._database.run(self._beat)

    def _beat(self, connection: sa.Connection) -> Pulse:
        mine = sa.update(nodes).where(nodes.c.id == self.id).values(beat=nodes.c.beat + 1)
        if connection.execute(mine).rowcount == 0:
            return Pulse(lost=True)
        rows = connection.execute(sa.select(nodes.c.id, nodes.c.beat).where(nodes.c.id != self.id)).all()
        for id_, beat in self._still({row.id: row.beat for row in rows}):
            connection.execute(sa.delete(nodes).where(nodes.c.id == id_, nodes.c.beat == beat))
        asked = sa.select(runs.c.id).where(
            runs.c.lease == self.id, runs.c.state.in_(GOING_ON), runs.c.cancelling
        )
        return Pulse(
            cancelling=tuple(connection.execute(asked).scalars()),
            inherited=_inherited(connection, self.id, _orphans(connection)),
        )

    def _still(self, beats: dict[int, int]) -> list[tuple[int, int]]:
        """Return the counters that stood still for longer than a lease, by our own watch."""
        now = self._clock.monotonic()
        self._seen = {
            id_: seen if (seen := self._seen.get(id_, (-1, now)))[0] == beat else (beat, now)
            for id_, beat in beats.items()
        }
        return [(id_, beat) for id_, (beat, since) in self._seen.items() if now - since > self._lease_s]

    async def adrift(self, seen_to: frozenset[str]) -> tuple[str, ...]:
        """Return this node's runs that should go on, apart from those that are ``seen_to``."""
        query = sa.select(runs.c.id).where(runs.c.lease == self.id, runs.c.state.in_(GOING_ON))
        found = await self._database.run(lambda it: it.execute(query).scalars().all())
        return tuple(run for run in found if run not in seen_to)


def _orphans(connection: sa.Connection) -> tuple[str, ...]:
    """Return the runs that should go on, and whose node has no row any more."""
    alive = sa.select(nodes.c.id)
    query = sa.select(runs.c.id).where(runs.c.state.in_(GOING_ON), runs.c.lease.not_in(alive))
    return tuple(connection.execute(query.with_for_update(skip_locked=True)).scalars())


def _inherited(connection: sa.Connection, heir: int, orphans: tuple[str, ...]) -> tuple[str, ...]:
    if orphans:
        connection.execute(sa.update(runs).where(runs.c.id.in_(orphans)).values(lease=heir))
    return orphans
