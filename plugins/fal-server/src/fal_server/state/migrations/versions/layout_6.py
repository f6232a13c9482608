"""Layout 6: measurements of applications, and when keys were used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of measurements, and add the time at which a key was used."""
    op.create_table(
        "measurements",
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("alias", _TEXT, primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("begun_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("runners", sa.Integer, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("durations", _TEXT, nullable=False),
    )
    op.create_index("measurements_by_age", "measurements", ["step", "begun_at"])
    op.add_column("keys", sa.Column("used_at", sa.Float))
