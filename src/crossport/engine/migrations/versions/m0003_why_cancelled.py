"""Why a run is asked to stop, where it is not a person who asks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; runs that are being cancelled have none, as those that a person stops."""
    op.add_column("runs", sa.Column("why", sa.Text))
