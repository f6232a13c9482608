"""
Upserts: rows that are written whether or not there is one of the same key.

Where transactions do not exclude each other, to look for a row and then to write it leaves
room for another transaction in between; the database itself leaves none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def add_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Add a row unless there is one that has to be unique like it, and return whether it was."""
    statement = _insert(connection, table).values(**values).on_conflict_do_nothing()
    counted = statement.execution_options(preserve_rowcount=True)
    return bool(connection.execute(counted).rowcount)


def put(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Add a row, or change the one of the same key to be this one."""
    keys = {column.name for column in table.primary_key}
    rest = {name: value for name, value in values.items() if name not in keys}
    statement = _insert(connection, table).values(**values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)
    )


def add_to(
    connection: sa.Connection, column: sa.Column[int], values: Mapping[str, Any]
) -> None:
    """Add a row, or add its value of *column* to that of the row of the same key."""
    table = column.table
    assert isinstance(table, sa.Table)
    statement = _insert(connection, table).values(**values)
    more = {column.name: column + statement.excluded[column.name]}
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=more)
    )


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    # Either has the same method, and they have no class for it in common.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
