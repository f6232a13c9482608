"""Layout 4: several servers on one database, and the host and the machine of each runner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of replicas, and add where a runner is."""
    op.create_table(
        "claims",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", _TEXT, nullable=False),
        sa.Column("is_ready", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    texts = ("address", "ports", "authority", "machine", "files", "version")
    op.create_table(
        "replicas",
        sa.Column("id", _TEXT, primary_key=True),
        *(sa.Column(name, _TEXT, nullable=False) for name in texts),
        sa.Column("clock", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_table("arrivals", sa.Column("request_id", _TEXT, primary_key=True))
    machine = sa.Column("machine", _TEXT, nullable=False, server_default="")
    op.add_column("runners", machine)
    op.add_column("runners", sa.Column("host", _TEXT))
