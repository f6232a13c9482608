"""Layout 7: values that clients keep by a name and a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of values."""
    op.create_table(
        "stored_values",
        sa.Column("account_id", _TEXT, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_index("ix_stored_values_expires_at", "stored_values", ["expires_at"])
