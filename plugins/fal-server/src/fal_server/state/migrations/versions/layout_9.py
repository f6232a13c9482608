"""Layout 9: marks by which it is found out whether a transaction was committed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of marks."""
    op.create_table(
        "commit_marks",
        sa.Column("writer", _TEXT, primary_key=True),
        sa.Column("mark", _TEXT, nullable=False),
        sa.Column("marked_at", sa.Float, nullable=False),
    )
