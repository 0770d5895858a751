"""The audit log in the database. Every function works within one transaction of the caller.

Appending locks the one row of the tip: whichever node writes, there is one sequence without gap and fork.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from crossport import merkle
from crossport.audit import tree
from crossport.audit.tree import Frontier, Stored
from crossport.engine.schema import audit_nodes, audit_records, audit_tip
from crossport.model import codec
from crossport.model.audit import AuditRecord, KeptRecord
from crossport.model.head import AuditProof

__all__ = ["append", "consistency", "frontier", "proof", "records", "stored"]

DIGEST = hashlib.sha256().digest_size


def append(connection: sa.Connection, drafts: Sequence[AuditRecord]) -> int:
    """Append records under the next numbers; return the first."""
    edge = frontier(connection, locked=True)
    first = edge.size
    rows: list[dict[str, object]] = []
    kept: list[dict[str, int | bytes]] = []
    for draft in drafts:
        record = replace(draft, number=edge.size)
        text = codec.encoded(record)
        leaf = merkle.leaf(text.encode())
        rows.append(
            {
                "number": record.number,
                "leaf": leaf,
                "run": record.run,
                "tenant": record.tenant,
                "action": record.action,
                "record": text,
            }
        )
        kept += [{"level": it[0], "position": it[1], "hash": it[2]} for it in edge.add(leaf)]
    connection.execute(sa.insert(audit_records), rows)
    if kept:
        connection.execute(sa.insert(audit_nodes), kept)
    connection.execute(sa.update(audit_tip).values(size=edge.size, roots=b"".join(edge.roots)))
    return first


def frontier(connection: sa.Connection, *, locked: bool = False) -> Frontier:
    """Return the right edge of the log, for appending if ``locked``."""
    query = sa.select(audit_tip.c.size, audit_tip.c.roots)
    size, roots = connection.execute(query.with_for_update() if locked else query).one()
    return Frontier(size, [bytes(roots[at : at + DIGEST]) for at in range(0, len(roots), DIGEST)])


def records(
    connection: sa.Connection, after: int, limit: int, run: str, action: str
) -> tuple[KeptRecord, ...]:
    """Return records behind number ``after``: all, or those of one run or action."""
    table = audit_records
    query = sa.select(table.c.leaf, table.c.record).where(table.c.number > after)
    if run:
        query = query.where(table.c.run == run)
    if action:
        query = query.where(table.c.action == action)
    rows = connection.execute(query.order_by(table.c.number).limit(limit))
    return tuple(KeptRecord(leaf=row.leaf.hex(), text=row.record) for row in rows)


def proof(connection: sa.Connection, number: int) -> AuditProof | None:
    """Return a record with its path to the root of the log as it is now; None when there is none."""
    edge = frontier(connection)
    found = records(connection, number - 1, 1, "", "")
    if not found or not 0 <= number < edge.size:
        return None
    path = tree.inclusion(number, edge.size, stored(connection))
    return AuditProof(
        record=found[0],
        number=number,
        size=edge.size,
        root=edge.root().hex(),
        path=tuple(each.hex() for each in path),
    )


def consistency(connection: sa.Connection, first: int, second: int) -> tuple[str, ...]:
    """Return the proof that the log of ``first`` records is the beginning of that of ``second``."""
    return tuple(each.hex() for each in tree.consistency(first, second, stored(connection)))


def stored(connection: sa.Connection) -> Stored:
    """Return where proofs find the hashes that are kept."""

    def fetched(level: int, start: int, end: int) -> Sequence[bytes]:
        if level == 0:
            column, place = audit_records.c.leaf, audit_records.c.number
            query = sa.select(column)
        else:
            column, place = audit_nodes.c.hash, audit_nodes.c.position
            query = sa.select(column).where(audit_nodes.c.level == level)
        rows = connection.execute(query.where(place >= start, place < end).order_by(place))
        return [bytes(each) for each in rows.scalars()]

    return fetched
