"""The engine's own tables. The library below keeps its own, in another file or schema.

Values are JSON of our models, as text. Times are Unix seconds, 0 for not yet. A change here needs a
migration in ``migrations/versions``; a test compares both.
"""

import sqlalchemy as sa

__all__ = [
    "metadata",
    "runs",
    "events",
    "progress",
    "ledger",
    "nodes",
    "decisions",
    "documents",
    "audit_records",
    "audit_nodes",
    "audit_tip",
]

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # the order of submission
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("partition", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double, nullable=False, default=0.0),
    sa.Column("ended", sa.Double, nullable=False, default=0.0),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("node", sa.Text, nullable=False, default=""),
    sa.Column("lease", sa.Integer, nullable=False, default=0),  # nodes.id of who executes it
    sa.Column("cancelling", sa.Boolean, nullable=False, default=False),
    sa.Column("protected", sa.Boolean, nullable=False, default=False),
    sa.Column("told", sa.Integer, nullable=False, default=0),  # the number of the last event
    sa.Column("report", sa.Text),
    sa.Column("failure", sa.Text),
    sa.Column("why", sa.Text),  # the error with which it is cancelled, if it is not a person's wish
    sa.Index("runs_state", "state", "number"),
    sa.Index("runs_lease", "lease", "state"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("event", sa.Text, nullable=False),
)

progress = sa.Table(
    "progress",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("artifact", sa.Text, primary_key=True),
    sa.Column("event", sa.Text, nullable=False),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("cloud", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "cloud", "kind", "name", name="ledger_thing"),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # new at every start of a node
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False, default=0),  # counted up while it lives
    sqlite_autoincrement=True,  # an id is never used again
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("waited_s", sa.Double, nullable=False, default=0.0),
    sa.Column("open", sa.Boolean, nullable=False, default=True),
    sa.Column("answer", sa.Text),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("json", sa.Text, nullable=False),
)

audit_records = sa.Table(
    "audit_records",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),  # from 0, without gaps
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("audit_records_run", "run", "number"),
)

# The roots of complete subtrees, at every eighth level only.
audit_nodes = sa.Table(
    "audit_nodes",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

# One row: whoever appends locks it, so that there is one sequence, whichever node writes.
audit_tip = sa.Table(
    "audit_tip",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("roots", sa.LargeBinary, nullable=False),  # of the complete subtrees, from the left
)
