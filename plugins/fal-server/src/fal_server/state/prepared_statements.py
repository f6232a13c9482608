"""Prepared statements: compiled once, and run many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa


class Prepared:
    """
    A statement that changes or reads rows, and is compiled only once.

    SQLAlchemy takes longer to prepare a statement than SQLite takes to run it. The values
    go to the driver as they are, without the conversions of their column types.
    """

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None, Mapping[str, Any]]] = {}

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """Execute it, and return how many rows it changed."""
        return self._execute(connection, values).rowcount

    def run_all(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it once for each of *rows*, without a wait for the database in between."""
        text, parameters = self._prepare(connection, rows)
        connection.exec_driver_sql(text, parameters)

    def first(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:
        """Execute it, and return the first value of the first row that it reads, if any."""
        return self._execute(connection, values).scalar()

    def _execute(
        self, connection: sa.Connection, values: Mapping[str, Any]
    ) -> sa.CursorResult[Any]:
        text, parameters = self._prepare(connection, [values])
        return connection.exec_driver_sql(text, parameters[0])

    def _prepare(
        self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[str, list[Any]]:
        """Return the statement, and its parameters for each of *rows*, as the driver takes them."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            order = compiled.positiontup if compiled.positional else None
            self._compiled[dialect.name] = str(compiled), order, compiled.params
        text, names, constants = self._compiled[dialect.name]
        given = [{**constants, **values} for values in rows]
        if names is None:
            return text, given
        return text, [tuple([values[name] for name in names]) for values in given]


@attrs.frozen(eq=False)
class Row:
    """
    A write that runs a prepared statement with the values of one row, and needs nothing of
    other writes.
    """

    statement: Prepared
    values: Mapping[str, Any]

    def __call__(self, connection: sa.Connection) -> None:
        self.statement.run(connection, self.values)


def run_together(
    connection: sa.Connection, works: Sequence[Callable[[sa.Connection], Any]]
) -> list[Any]:
    """
    Run writes in one transaction, first those of rows, all of a statement at once. Return
    what they return, in their order.
    """
    rows: dict[Prepared, list[Mapping[str, Any]]] = {}
    for work in works:
        if isinstance(work, Row):
            rows.setdefault(work.statement, []).append(work.values)
    for statement, some in rows.items():
        statement.run_all(connection, some)
    return [None if isinstance(work, Row) else work(connection) for work in works]
