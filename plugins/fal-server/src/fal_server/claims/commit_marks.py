"""
Commit marks: what the last transaction of each server or command has left in PostgreSQL, by
which it finds out whether that was committed when the answer is lost.

The number of a transaction does not tell: after a crash, PostgreSQL gives another transaction
the number of one of which nothing was written.
"""

from __future__ import annotations

import sqlalchemy as sa

from fal_server.state.databases import metadata

commit_marks = sa.Table(
    "commit_marks",
    metadata,
    sa.Column("writer", sa.String, primary_key=True),
    sa.Column("mark", sa.String, nullable=False),
    sa.Column("marked_at", sa.Float, nullable=False),
)
