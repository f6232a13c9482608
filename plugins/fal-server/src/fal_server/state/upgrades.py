"""
Upgrades: tables that an earlier version of the server has made.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

#: The key in the ``info`` of a column under which an expression stands from which the rows
#: of an earlier version get their value.
VALUE = "value of earlier rows"


def add_missing(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """
    Add the columns and the indexes that tables of an earlier version lack.
    """
    found = sa.inspect(connection)
    for table in metadata.sorted_tables:
        columns = {each["name"] for each in found.get_columns(table.name)}
        indexes = {each["name"] for each in found.get_indexes(table.name)}
        for column in table.columns:
            if column.name not in columns:
                _add(connection, table, column)
        for index in table.indexes:
            if index.name not in indexes:
                index.create(connection)


def _add(connection: sa.Connection, table: sa.Table, column: sa.Column[object]) -> None:
    described = CreateColumn(column).compile(dialect=connection.dialect)
    quoted = connection.dialect.identifier_preparer.format_table(table)
    connection.exec_driver_sql(f"ALTER TABLE {quoted} ADD COLUMN {described}")
    if VALUE in column.info:
        connection.execute(table.update().values({column: column.info[VALUE]}))
