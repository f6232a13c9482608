"""Layout 3: the keys of servers that share a database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of keys."""
    op.create_table(
        "state_keys",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", sa.LargeBinary),
        sa.Column("digest", _TEXT),
        sa.Column("created_at", sa.Float, nullable=False),
    )
