"""Which queued runs may start: the oldest first, as far as the limits of their kind and this node allow.

The library below has queues of its own. They are polled: finding a run within 0.3 s cost 2.4 % of a CPU
for one idle queue and 4.2 % for three (measured), so runs wait in our table, where submitting one and
ending one look at once.
"""

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa

from crossport.engine.schema import runs
from crossport.engine.settings import Kind
from crossport.model.run import RunState

__all__ = ["admitted"]

ADMISSION_LOCK = 0x71756575  # of PostgreSQL's advisory locks: "queu"


def admitted(
    connection: sa.Connection, kinds: Mapping[str, Kind], node: tuple[str, int], room: int
) -> tuple[str, ...]:
    """Choose at most ``room`` queued runs, make them this node's (name, lease), return their ids."""
    queued = sa.select(runs.c.number).where(runs.c.state == RunState.QUEUED.value).limit(1)
    if room <= 0 or connection.execute(queued).scalar() is None:
        return ()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    chosen: list[str] = []
    going_on = _going_on(connection)
    for kind in kinds.values():
        chosen += _of_kind(connection, kind, going_on, room - len(chosen))
    if chosen:
        values = {"state": RunState.RUNNING.value, "node": node[0], "lease": node[1]}
        connection.execute(sa.update(runs).where(runs.c.id.in_(chosen)).values(values))
    return tuple(chosen)


def _going_on(connection: sa.Connection) -> Counter[tuple[str, str]]:
    """Count what goes on by kind and partition. What waits for a person holds nobody up."""
    query = (
        sa.select(runs.c.kind, runs.c.partition, sa.func.count())
        .where(runs.c.state == RunState.RUNNING.value)
        .group_by(runs.c.kind, runs.c.partition)
    )
    return Counter({(kind, partition): count for kind, partition, count in connection.execute(query)})


def _of_kind(
    connection: sa.Connection, kind: Kind, going_on: Counter[tuple[str, str]], room: int
) -> list[str]:
    """Choose queued runs of one kind. Each round finds some, or learns of a full partition, or ends."""
    limits = kind.limits
    if limits.at_once:
        room = min(room, limits.at_once - sum(n for place, n in going_on.items() if place[0] == kind.name))
    chosen: list[str] = []
    while room > len(chosen):
        full = _full_partitions(kind, going_on)
        query = (
            sa.select(runs.c.id, runs.c.partition)
            .where(runs.c.state == RunState.QUEUED.value, runs.c.kind == kind.name)
            .where(runs.c.partition.not_in(full), runs.c.id.not_in(chosen))
            .order_by(runs.c.number)
            .limit(room - len(chosen))
        )
        found = connection.execute(query).all()
        if not found:
            break
        for row in found:
            if row.partition not in _full_partitions(kind, going_on):
                chosen.append(row.id)
                going_on[kind.name, row.partition] += 1
    return chosen


def _full_partitions(kind: Kind, going_on: Counter[tuple[str, str]]) -> set[str]:
    limit = kind.limits.per_partition
    if not limit:
        return set()
    return {place[1] for place, n in going_on.items() if place[0] == kind.name and place[1] and n >= limit}
