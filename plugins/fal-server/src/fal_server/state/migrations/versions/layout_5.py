"""Layout 5: the history of what was deployed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of deployments."""
    texts = (
        *("alias", "revision", "action", "message", "annotations", "key_id"),
        *("outcome", "reason"),
    )
    op.create_table(
        "deployments",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, sa.ForeignKey("accounts.id"), nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in texts),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
    )
    op.create_index(
        "deployments_of_alias", "deployments", ["account_id", "alias", "created_at"]
    )
