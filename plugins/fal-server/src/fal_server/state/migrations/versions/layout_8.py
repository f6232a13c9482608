"""Layout 8: what clients named the server as they deployed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the name of the server to revisions. That of earlier ones is unknown."""
    op.add_column(
        "revisions", sa.Column("server_host", _TEXT, nullable=False, server_default="")
    )
